"""Look at a config before it is trained: networks, taps, adapters, losses, one step, one validation image.

    python tools/check.py CONFIG               # a distillation config or a plain one
    python tools/check.py CONFIG --taps        # all places that a tap can name; needs no weights and no data
    python tools/check.py CONFIG --no-data     # with a batch of noise

It names what is wrong, and writes nothing to disk. Exit code: 0 nothing wrong, 1 something is wrong, 2 the
config cannot be built or run.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from entry import add_config, print_report, read_config, run_tool, tool_parser

if TYPE_CHECKING:
    from kd_methods.utils.report import Report


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add_config(parser)
    add('--taps', action='store_true', help='list the places of both networks with their shapes, and stop')
    add('--no-data', action='store_true', help='use a batch of noise instead of the training data')
    size = "pixels for FLOPs, --taps and --no-data (default: the batch's, or the config's crop)"
    add('--size', type=int, nargs=2, metavar=('H', 'W'), help=size)
    add('--batch', type=int, metavar='N', help="images in the batch (default: the config's)")
    return parser.parse_args(argv)


def look(args: argparse.Namespace) -> Report | str:
    """What the command line asks for."""
    cfg = read_config(args)
    from kd_methods.check.run import check_config, check_places

    size = tuple(args.size) if args.size else None
    if args.taps:
        return check_places(cfg, size)
    return check_config(cfg, args.config, args.no_data, args.batch, size, live=True)


def main(argv: list[str] | None = None) -> int:
    """Check as the command line says and return the exit code."""
    args = parse_args(argv)
    return print_report('check.py', lambda: look(args))


if __name__ == '__main__':
    run_tool(main)
