"""Write the label images of Cityscapes that training reads, *_labelTrainIds.png.

    python tools/data/cityscapes.py data/cityscapes

Downloads need an account at https://www.cityscapes-dataset.com. Unpack in ROOT:
  leftImg8bit_trainvaltest.zip  11 GB, leftImg8bit/{train,val,test}/CITY/*_leftImg8bit.png
  gtFine_trainvaltest.zip       241 MB, gtFine/{train,val,test}/CITY/*_gtFine_{polygons.json,labelIds.png,...}
Beside each *_gtFine_polygons.json lands *_gtFine_labelTrainIds.png: 0-18, and 255 for what is ignored, with
the same pixels as the data set's own scripts draw. An image with *_labelIds.png but without polygons is
converted from it, with the same result. The labels of the test images are not public: their files mark
borders only, and all pixels become 255.

Calling it again converts only what is missing, half-written, of another kind of PNG or older than its source.
Exit code: 0 all labels are there, 1 some are not, and the files to blame are named.
"""

import argparse

from entry import converter_parser, run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = converter_parser(__doc__)
    parser.add_argument('root', metavar='ROOT', help='folder that holds gtFine')
    folder = dict(dest='annotations', default='gtFine', metavar='NAME')
    parser.add_argument('--gt-dir', **folder, help='annotations below ROOT: gtFine or gtCoarse (%(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says and return the exit code."""
    args = parse_args(argv)
    from kd_methods.convert.cityscapes import convert_cityscapes

    outcome = convert_cityscapes(**vars(args))
    print(f'{args.root}: {outcome}')
    return outcome.exit_code


if __name__ == '__main__':
    run_tool(main, 'Run the same command again to go on.')
