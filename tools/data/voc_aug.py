"""Add the annotations of SBD to Pascal VOC 2012: from 1,464 training images to 10,582.

    python tools/data/voc_aug.py data/VOCdevkit data/benchmark_RELEASE

The homes of the data sets, and what to unpack in data/ (or elsewhere):
  http://host.robots.ox.ac.uk/pascal/VOC/voc2012/
    VOCtrainval_11-May-2012.tar, 2 GB:
    VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation,...}
  https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz
    1.4 GB: benchmark_RELEASE/dataset/{cls/*.mat,train.txt,val.txt,...}
What lands in VOCdevkit/VOC2012:
  SegmentationClassAug/*.png              labels of all images of SBD, and VOC's own where SBD lacks one of
                                          train: 0-20, 255 ignored, with VOC's palette
  ImageSets/Segmentation/trainaug.txt     10,582 images: VOC's train and all of SBD without VOC's val
  ImageSets/Segmentation/aug.txt          9,118 images: the ones of trainaug that are not in VOC's train
A subset of either data set will do. An image whose labels or JPEG are missing, broken or of another size is
named and left out of the lists.

Calling it again converts only what is missing, half-written, of another kind of PNG or older than its source,
reads every JPEG again and completes the lists. Exit code: 0 all is there, 1 something is not.
"""

import argparse

from entry import converter_parser, run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = converter_parser(__doc__)
    parser.add_argument('devkit', metavar='VOCDEVKIT', help='folder that holds VOC2012')
    parser.add_argument('sbd', metavar='SBD', help='benchmark_RELEASE, the folder that holds dataset')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says and return the exit code."""
    args = parse_args(argv)
    from kd_methods.convert.voc_aug import convert_voc_aug

    outcome = convert_voc_aug(**vars(args))
    print(f'{args.devkit}: {outcome}')
    return outcome.exit_code


if __name__ == '__main__':
    run_tool(main, 'Run the same command again to go on.')
