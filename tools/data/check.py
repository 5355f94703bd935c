"""Read all data that a config names, and say what is wrong with it.

    python tools/data/check.py CONFIG
    python tools/data/check.py CONFIG --splits train --limit 200   # a quick trial: 200 samples, evenly spaced
    python tools/data/check.py CONFIG --cfg-options train_dataloader.dataset.data_root=/path/to/cityscapes

Are all files there, each image with its label and its X? Do they decode to the last row, in the same size?
Are the values of the labels classes, as many as the network's heads have? How often does each class occur? Do
categories, images and boxes of annotations in COCO's form fit, and data sets their wrappers? Nothing is
written to disk. Exit code: 0 nothing wrong, 1 something is, 2 the config cannot be read.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from entry import add_config, positive, print_report, read_config, run_tool, tool_parser

if TYPE_CHECKING:
    from kd_methods.utils.report import Report

SPLITS = ('train', 'val', 'test')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add_config(parser)
    add('--splits', nargs='+', choices=SPLITS, default=list(SPLITS), help='which dataloaders (default: all)')
    limit = 'samples of each data set to read (default: all)'
    add('--limit', type=positive, metavar='N', help=limit)
    add('--workers', type=positive, metavar='N', help='processes (default: number of cores)')
    return parser.parse_args(argv)


def look(args: argparse.Namespace) -> Report:
    """What the command line asks for."""
    cfg = read_config(args)
    from kd_methods.data_check.page import check_data

    return check_data(cfg, args.config, args.splits, args.limit, args.workers)


def main(argv: list[str] | None = None) -> int:
    """Check as the command line says and return the exit code."""
    args = parse_args(argv)
    return print_report('check.py', lambda: look(args))


if __name__ == '__main__':
    run_tool(main, 'Nothing was written.')
