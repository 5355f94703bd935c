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

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from kd_methods.convert.cityscapes import convert_cityscapes  # noqa: E402
from kd_methods.convert.command import converter_parser, run_converter  # noqa: E402
from kd_methods.engine.cli import run_tool  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says and return the exit code."""
    parser = converter_parser(__doc__)
    parser.add_argument('root', metavar='ROOT', help='folder that holds gtFine')
    parser.add_argument(
        '--gt-dir',
        dest='annotations',
        default='gtFine',
        metavar='NAME',
        help='annotations below ROOT: gtFine or gtCoarse (%(default)s)',
    )
    return run_converter(convert_cityscapes, 'root', parser, argv)


if __name__ == '__main__':
    run_tool(lambda: sys.exit(main()), 'Run the same command again to go on.')
