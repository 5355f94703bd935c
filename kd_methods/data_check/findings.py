"""What was found: sentences, and how bad it is."""

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass

STOPS = 'stops'  # a run that reads these files stops at them
WRONG = 'wrong'  # a run goes on, and learns or measures something else than was meant
NOTE = 'note'

SHOWN = 3  # files that are named


@dataclass
class Finding:
    """A sentence that names the config key, the files, what was expected and the cure.

    Attributes:
        text (str): The sentence.
        level (str): ``STOPS``, ``WRONG`` or ``NOTE``.
        missing (bool): It is about files that are not there. Defaults to False.
    """

    text: str
    level: str
    missing: bool = False


def some(files: Sequence[str | tuple[str, str]]) -> str:
    """The first few files, each with what was found in it, and how many more there are; a folder is named
    once.
    """
    names, before = [], None
    for file in files[:SHOWN]:
        path, found = (file, '') if isinstance(file, str) else file
        folder, name = osp.split(path)
        names.append((name if folder == before else path) + (f' ({found})' if found else ''))
        before = folder
    return ', '.join(names) + (f' and {len(files) - SHOWN:,} more' if len(files) > SHOWN else '')


def share(part: int, whole: int, things: str) -> str:
    """``3 of 2,975 images``, or ``all 5 images``."""
    return f'all {whole:,} {things}' if part == whole > 1 else f'{part:,} of {whole:,} {things}'


def listed(items: Sequence, shown: int = 10) -> str:
    """Names, but not endlessly many."""
    return ', '.join(map(str, items[:shown])) + (
        f' and {len(items) - shown} more' if len(items) > shown else ''
    )
