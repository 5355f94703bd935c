"""What the command lines of converters of many files share."""
import argparse
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .frame import Outcome


def converter_parser(text: str) -> argparse.ArgumentParser:
    """A parser with the arguments that all of them have.

    Args:
        text (str): Of ``--help``, printed as it is.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workers', type=int, help='processes (number of cores)')
    parser.add_argument('--overwrite', action='store_true', help='convert all files anew')
    return parser


def run_converter(convert: Callable[..., Outcome], folder: str, parser: argparse.ArgumentParser,
                  argv: Sequence[str] | None = None) -> int:
    """Convert as the command line says, print what became of the files, and return the exit code.

    Args:
        convert (Callable): Takes the parser's arguments by their names.
        folder (str): Name of the one that is written into.
        parser (argparse.ArgumentParser): Of :func:`converter_parser`, with arguments of its own.
        argv (Sequence[str] | None): Arguments; the process's own if None. Defaults to None.
    """
    args = vars(parser.parse_args(argv))
    with only_run(args[folder]):
        outcome = convert(**args)
    print(f'{args[folder]}: {outcome}')
    return outcome.exit_code


@contextmanager
def only_run(folder: str | Path) -> Iterator[None]:
    """Refuse a second conversion into the same folder at the same time; on a disk without locks there is no check.

    Raises:
        ValueError: Another process is writing there.
    """
    folder = Path(folder)
    if not folder.is_dir():  # of which the converter has something to say, or which it makes
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f'{folder}: another conversion is writing here. Wait for its end and run this again') from error
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
