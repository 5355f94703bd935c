"""What the command lines of converters of many files share."""

import argparse
from collections.abc import Callable, Sequence

from kd_methods.convert.base import Outcome


def converter_parser(text: str) -> argparse.ArgumentParser:
    """A parser with the arguments that all of them have.

    Args:
        text (str): Of ``--help``, printed as it is.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workers', type=int, help='processes (number of cores)')
    help = 'convert all files anew, also those that look done'
    parser.add_argument('--overwrite', action='store_true', help=help)
    return parser


def run_converter(
    convert: Callable[..., Outcome],
    folder: str,
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Convert as the command line says, print what became of the files, and return the exit code.

    Args:
        convert (Callable): Takes the parser's arguments by their names.
        folder (str): Name of the one that is written into.
        parser (argparse.ArgumentParser): Of :func:`converter_parser`, with further arguments.
        argv (Sequence[str] | None): Arguments; the process's own if None. Defaults to None.
    """
    args = vars(parser.parse_args(argv))
    outcome = convert(**args)
    print(f'{args[folder]}: {outcome}')
    return outcome.exit_code
