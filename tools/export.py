"""Write the student of a checkpoint alone, with a plain config.

A training run does so by itself beside each checkpoint; this is for other checkpoints, and for
putting the files elsewhere:

    python tools/export.py CONFIG work_dirs/NAME/iter_8000.pth --out student.pth
"""

import argparse

from entry import check_config, check_file, run_tool, tool_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add('config', help='config that the checkpoint was trained with')
    add('checkpoint', help='full or student-only checkpoint')
    add('--out', required=True, metavar='FILE.pth', help="the student's weights")
    add('--config-out', metavar='FILE.py', help="its config (default: --out's name with .py)")
    trusted = 'unpickle everything in the checkpoint, which can run code that it carries'
    add('--trusted', action='store_true', help=trusted)
    fresh = 'do not load the files once in a fresh process without kd_methods (which takes seconds)'
    add('--no-verify', dest='verify', action='store_false', help=fresh)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Export and say what was written."""
    args = parse_args(argv)
    check_config(args.config)
    check_file(args.checkpoint, 'checkpoint')
    from kd_methods.export.student import export_student

    weights, config = export_student(
        args.config, args.checkpoint, args.out, args.config_out, trusted=args.trusted, verify=args.verify
    )
    print(f'{weights}: the student alone\n{config}: its config, without kd_methods')
    if args.verify:
        print('Both were loaded in a process without kd_methods.')


if __name__ == '__main__':
    run_tool(main)
