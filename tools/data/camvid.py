"""Convert CamVid's colour-coded release, 32 labels, into the form with 11 classes that CamVidDataset reads.

The release of 11 classes (480 x 360) in another size, its split and its labels as they are:
    python tools/data/camvid.py RELEASE --out data/camvid_240x180 --size 240 180

From the colour-coded release:

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

import argparse

from entry import converter_parser, run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = converter_parser(__doc__)
    add = parser.add_argument
    add('source', help='folder of either release, unpacked')
    add('--out', required=True, help='directory of the data set')
    splits = (
        'folder with train.txt, val.txt and test.txt, a name such as 0001TP_006690 a line, for another split'
    )
    add('--splits', metavar='DIR', help=splits)
    size = 'width and height (default: 480 360; 960 720 leaves all pixels as they are)'
    add('--size', type=int, nargs=2, default=(480, 360), metavar=('W', 'H'), help=size)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says and return the exit code."""
    args = parse_args(argv)
    from kd_methods.convert.camvid import convert_camvid

    outcome = convert_camvid(**vars(args))
    print(f'{args.out}: {outcome}')
    return outcome.exit_code


if __name__ == '__main__':
    run_tool(main, 'Run the same command again to go on.')
