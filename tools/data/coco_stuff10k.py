"""Sort COCO-Stuff 10k v1.1 into the folders that training reads.

    python tools/data/coco_stuff10k.py data/coco_stuff10k

The home of the data set is https://github.com/nightrome/cocostuff10k. Unpack cocostuff-10k-v1.1.zip (2 GB) in
ROOT, 9,000 and 1,000 images; a subset will do:
  images/*.jpg   annotations/*.mat   imageLists/{train,test}.txt
What lands in ROOT:
  annotations/{train,test}2014/*_labelTrainIds.png   0 unlabelled (ignored in training), 1-171 the classes
  images/{train,test}2014/*.jpg                      hard links, or copies where the disk has no links
The labels of the .mat files, 1-182 with 11 numbers left out, are numbered without gaps, as mmseg does. A .mat
or an image that is missing or broken is named, and the image is left out of the folders unless an earlier run
has put it there.

Calling it again converts only what is missing, half-written, of another kind of PNG or older than its source.
Exit code: 0 all is there, 1 something is not.
"""

import argparse

from entry import converter_parser, run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = converter_parser(__doc__)
    parser.add_argument('root', metavar='ROOT', help='folder that holds images, annotations and imageLists')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says and return the exit code."""
    args = parse_args(argv)
    from kd_methods.convert.coco_stuff10k import convert_coco_stuff10k

    outcome = convert_coco_stuff10k(**vars(args))
    print(f'{args.root}: {outcome}')
    return outcome.exit_code


if __name__ == '__main__':
    run_tool(main, 'Run the same command again to go on.')
