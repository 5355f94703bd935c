"""Convert CamVid's colour-coded release, 32 labels, into the form with 11 classes that CamVidDataset reads.

    python tools/data/camvid.py DOWNLOADS --out data/camvid

DOWNLOADS holds the two archives, unpacked. From http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData/ :
  files/701_StillsRaw_full.zip      701 images:  unzip 701_StillsRaw_full.zip
  data/LabeledApproved_full.zip     their labels, which need a folder:
                                    unzip LabeledApproved_full.zip -d LabeledApproved_full
label_colors.txt is not needed.

What becomes of them:
  {train,val,test}/NAME.png         480 x 360 pixels, averages over areas of the 960 x 720 originals (--size)
  {train,val,test}annot/NAME.png    by nearest neighbour: 0 sky, 1 building, 2 pole, 3 road, 4 pavement,
                                    5 tree, 6 sign symbol, 7 fence, 8 car, 9 pedestrian, 10 bicyclist, 11 void
  {train,val,test}.txt              the usual split of 367, 101 and 233 images, or that of --splits

The split and the classes are the ones of the 11-class release that papers use. How that release was made
smaller is not known: labels may differ from it by a pixel along borders.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from kd_methods.convert.camvid import SIZE, convert_camvid  # noqa: E402
from kd_methods.convert.command import converter_parser, run_converter  # noqa: E402
from kd_methods.engine.cli import run_tool  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says and return the exit code."""
    parser = converter_parser(__doc__)
    parser.add_argument('source', help='folder with 701_StillsRaw_full and LabeledApproved_full')
    parser.add_argument('--out', required=True, help='directory of the data set')
    parser.add_argument(
        '--splits',
        metavar='DIR',
        help='folder with train.txt, val.txt and test.txt, a name such as '
        '0001TP_006690 a line, for another split',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=SIZE,
        metavar=('W', 'H'),
        help='width and height (default: 480 360; 960 720 leaves all pixels as they are)',
    )
    return run_converter(convert_camvid, 'out', parser, argv)


if __name__ == '__main__':
    run_tool(lambda: sys.exit(main()), 'Run the same command again to go on.')
