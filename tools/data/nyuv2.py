"""Convert NYUv2 (RGB, depth, labels of 40 and of 13 classes) into folders of PNG files.

    python tools/data/nyuv2.py --mat nyu_depth_v2_labeled.mat --classes classMapping40.mat --splits splits.mat --out data/nyuv2

The home of the data set is https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html. The files:
  nyu_depth_v2_labeled.mat  2.8 GB, http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat
  splits.mat                http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat
  classMapping40.mat        https://github.com/ankurhanda/nyuv2-meta-data
Where that server does not answer, look for a mirror of the same files.
"""
import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from kd_methods.convert.nyuv2 import convert_nyuv2  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mat', required=True, help='nyu_depth_v2_labeled.mat')
    parser.add_argument('--classes', required=True, help='classMapping40.mat, fine labels to 40 classes')
    parser.add_argument('--splits', required=True, help='splits.mat, which images are for training')
    parser.add_argument('--out', required=True, help='directory of the data set')
    parser.add_argument('--raw-depth', action='store_true',
                        help='depth as it was measured, with holes, in place of the filled-in one')
    parser.add_argument('--overwrite', action='store_true', help='replace a conversion of other files')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    start = time.time()
    try:
        written = convert_nyuv2(**vars(args))
    except (ValueError, OSError) as error:
        print(f'nyuv2: {error}', file=sys.stderr)
        return 2
    if written:
        print(f'{args.out}: converted in {time.time() - start:.0f} s')
    else:
        print(f'{args.out}: this conversion is there already, nothing to do')
    return 0


if __name__ == '__main__':
    sys.exit(main())
