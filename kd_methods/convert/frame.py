"""What converters of many files share: skip what is there, write whole files, name what failed and go on."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kd_methods.core.files import is_whole_png
from kd_methods.core.parallel import run_parallel

SHOWN = 10  # failed files that are printed


@dataclass
class Outcome:
    """What became of the files of a conversion.

    Attributes:
        written (int): Files that were converted.
        kept (int): Files that were there already, whole and not older than their source.
        failed (dict[Path, str]): Source -> a sentence that names it and says why it could not be converted.
    """
    written: int = 0
    kept: int = 0
    failed: dict[Path, str] = field(default_factory=dict)

    def __add__(self, other: 'Outcome') -> 'Outcome':
        return Outcome(self.written + other.written, self.kept + other.kept, {**self.failed, **other.failed})

    @property
    def exit_code(self) -> int:
        """0 where all files are there, 1 otherwise."""
        return 1 if self.failed else 0

    def __str__(self) -> str:
        lines = [f'{self.written} files written, {self.kept} there already, {len(self.failed)} failed']
        lines += [f'  {reason}' for reason in list(self.failed.values())[:SHOWN]]
        if len(self.failed) > SHOWN:
            lines.append(f'  ... and {len(self.failed) - SHOWN} more')
        if self.failed:
            lines.append('Everything else is in place. Put these right and run the same command again: it converts only them.')
        return '\n'.join(lines)


def convert_files(convert: Callable[[Path, Path], None], pairs: Sequence[tuple[Path, Path]], title: str,
                  workers: int | None = None, overwrite: bool = False) -> Outcome:
    """Convert each source to its target, in several processes.

    Targets are PNG files. One that is whole and not older than its source is left alone, so that a second run converts what a
    first one could not; targets are written whole or not at all.

    Args:
        convert (Callable): Takes a source and a target and writes the target (:func:`kd_methods.core.files.save_png`). A
            ``ValueError`` or ``OSError`` of it fails this file alone; its text names the file.
        pairs (Sequence): (source, target) of each file.
        title (str): Title of the progress bar.
        workers (int | None): Processes. Defaults to None, the number of cores.
        overwrite (bool): Convert all files anew. Defaults to False.
    """
    outcome = Outcome()
    todo = []
    for source, target in pairs:
        if not overwrite and _is_done(source, target):
            outcome.kept += 1
        else:
            todo.append((source, target))
    for (source, _), reason in zip(todo, run_parallel(partial(_convert_one, convert), todo, workers, title)):
        if reason is None:
            outcome.written += 1
        else:
            outcome.failed[source] = reason
    return outcome


def _is_done(source: Path, target: Path) -> bool:
    try:
        return target.stat().st_mtime >= source.stat().st_mtime and is_whole_png(target)
    except FileNotFoundError:  # of the source too: the conversion says so
        return False


def _convert_one(convert: Callable[[Path, Path], None], pair: tuple[Path, Path]) -> str | None:
    source, target = pair
    try:
        convert(source, target)
    except (ValueError, OSError) as error:
        text = str(error)
        return text if str(source) in text else f'{source}: {text}'
    return None
