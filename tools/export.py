"""Write the student of a checkpoint alone, with a plain config.

A training run does so by itself beside each checkpoint; this is for other checkpoints, and for
putting the files elsewhere:

    python tools/export.py CONFIG work_dirs/NAME/iter_8000.pth --out student.pth
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

import kd_methods  # noqa: E402, F401  before any config is read
from kd_methods.engine.cli import run_tool  # noqa: E402
from kd_methods.export.student import export_student  # noqa: E402


def parse_args(argv: list | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config that the checkpoint was trained with')
    parser.add_argument('checkpoint', help='full or student-only checkpoint')
    parser.add_argument('--out', required=True, metavar='FILE.pth', help="the student's weights")
    parser.add_argument('--config-out', metavar='FILE.py', help="its config (default: --out's name with .py)")
    parser.add_argument(
        '--trusted',
        action='store_true',
        help='unpickle everything in the checkpoint, which can run code that it carries',
    )
    return parser.parse_args(argv)


def main(argv: list | None = None) -> None:
    """Export and say what was written."""
    args = parse_args(argv)
    weights, config = export_student(
        args.config, args.checkpoint, args.out, args.config_out, trusted=args.trusted
    )
    print(f'{weights}: the student alone\n{config}: its config, without kd_methods')


if __name__ == '__main__':
    run_tool(main)
