"""Look at a config before it is trained: networks, taps, adapters, losses, one step; name what is wrong.

    python tools/check.py CONFIG                 # a distillation config or a plain one
    python tools/check.py CONFIG --taps # all places that a tap can name; needs no weights and no data python
    tools/check.py CONFIG --no-data # with a batch of noise

It writes nothing to disk. Exit code: 0 nothing wrong, 1 something is wrong, 2 the config cannot be built or
run."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

import kd_methods  # noqa: E402, F401  before any config is read
from kd_methods.check.run import check_config, check_places  # noqa: E402
from kd_methods.engine.cli import add_cfg_options, print_report, read_config, run_tool  # noqa: E402
from kd_methods.utils.report import Report  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n', 1)[0],
        epilog=__doc__.split('\n\n', 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='distillation or plain config (or mmseg::..., mmdet::...)')
    parser.add_argument(
        '--taps', action='store_true', help='list the places of both networks with their shapes, and stop'
    )
    parser.add_argument(
        '--no-data', action='store_true', help='use a batch of noise instead of the training data'
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help="pixels for FLOPs, --taps and --no-data (default: the batch's, or the config's crop)",
    )
    parser.add_argument('--batch', type=int, metavar='N', help="images in the batch (default: the config's)")
    add_cfg_options(parser)
    parser.set_defaults(work_dir=None, launcher='none', local_rank=0)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Check as the command line says and return the exit code."""
    args = parse_args(argv)
    size = tuple(args.size) if args.size else None

    def look() -> Report | str:
        cfg = read_config(args)
        return (
            check_places(cfg, size)
            if args.taps
            else check_config(cfg, args.config, args.no_data, args.batch, size)
        )

    return print_report('check.py', look)


if __name__ == '__main__':
    run_tool(lambda: sys.exit(main()))
