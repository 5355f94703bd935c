"""Read all data that a config names, and say what is wrong with it.

    python tools/data/check.py CONFIG
    python tools/data/check.py CONFIG --splits train --limit 200   # a quick trial: 200 samples, evenly spaced
    python tools/data/check.py CONFIG --cfg-options train_dataloader.dataset.data_root=/path/to/cityscapes

Are all files there, each image with its label and its X? Do they decode to the last row, in the same size?
Are the values of the labels classes, as many as the network's heads have? How often does each class occur? Of
annotations in COCO's form: do categories, images and boxes fit? Nothing is written to disk. Exit code: 0
nothing wrong, 1 something is, 2 the config cannot be read.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not

import kd_methods  # noqa: E402, F401  before any config is read
from kd_methods.data_check.look import SPLITS  # noqa: E402
from kd_methods.data_check.page import check_data  # noqa: E402
from kd_methods.engine.cli import add_cfg_options, print_report, read_config, run_tool  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='distillation or plain config (or mmseg::..., mmdet::...)')
    parser.add_argument(
        '--splits', nargs='+', choices=SPLITS, default=list(SPLITS), help='which dataloaders (default: all)'
    )
    parser.add_argument(
        '--limit', type=_positive, metavar='N', help='samples of each data set to read (default: all)'
    )
    parser.add_argument('--workers', type=_positive, metavar='N', help='processes (default: number of cores)')
    add_cfg_options(parser)
    parser.set_defaults(work_dir=None, launcher='none', local_rank=0)
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a positive integer. Got: {text!r}')
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Check as the command line says and return the exit code."""
    args = parse_args(argv)
    return print_report(
        'check.py', lambda: check_data(read_config(args), args.config, args.splits, args.limit, args.workers)
    )


if __name__ == '__main__':
    run_tool(lambda: sys.exit(main()), 'Nothing was written.')
