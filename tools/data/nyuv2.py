"""Convert NYUv2 (RGB, depth, labels of 40 and of 13 classes) into folders of PNG files.

    python tools/data/nyuv2.py --mat nyu_depth_v2_labeled.mat --classes classMapping40.mat \\
        --splits splits.mat --out data/nyuv2

The home of the data set is https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html. The files:
  nyu_depth_v2_labeled.mat  2.8 GB
      http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat
  splits.mat
      http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat
  classMapping40.mat
      https://github.com/ankurhanda/nyuv2-meta-data
Where that server does not answer, look for a mirror of the same files.

Exit code: 0 all is there, 1 a file is missing or is not what it should be.
"""

import argparse
import time

from entry import run_tool, tool_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add('--mat', required=True, help='nyu_depth_v2_labeled.mat')
    add('--classes', required=True, help='classMapping40.mat, fine labels to 40 classes')
    add('--splits', required=True, help='splits.mat, which images are for training')
    add('--out', required=True, help='directory of the data set')
    raw = 'depth as it was measured, with holes, in place of the filled-in one'
    add('--raw-depth', action='store_true', help=raw)
    add('--overwrite', action='store_true', help='replace a conversion of other files')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says and return the exit code."""
    args = parse_args(argv)
    from kd_methods.convert.nyuv2 import convert_nyuv2

    start = time.time()
    if convert_nyuv2(**vars(args)):
        print(f'{args.out}: converted in {time.time() - start:.0f} s')
    else:
        print(f'{args.out}: this conversion is there already, nothing to do')
    return 0


if __name__ == '__main__':
    run_tool(main, 'Run the same command again: it converts the files anew.')
