"""What converters of many files share: skip what is there, write whole files, name what failed and go on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kd_methods.convert.inside import check_inside
from kd_methods.utils.files import check_path, folder_meant, is_whole_png
from kd_methods.utils.parallel import run_parallel
from kd_methods.utils.text import first_few

SHOWN = 10  # failed files that are printed
LISTED = 5  # names or values that a message gives as examples


@dataclass
class Outcome:
    """What became of the files of a conversion."""

    written: int = 0
    kept: int = 0  # files that were there already, whole and not older than their source
    failed: dict[Path, str] = field(default_factory=dict)  # source -> why, in a sentence that names it
    notes: list[str] = field(default_factory=list)  # further lines for the user

    def __add__(self, other: 'Outcome') -> 'Outcome':
        failed, notes = {**self.failed, **other.failed}, self.notes + other.notes
        return Outcome(self.written + other.written, self.kept + other.kept, failed, notes)

    @property
    def exit_code(self) -> int:
        """0 where all files are there, 1 otherwise."""
        return 1 if self.failed else 0

    def __str__(self) -> str:
        counts = f'{self.written} files written, {self.kept} there already, {len(self.failed)} failed'
        lines = [counts, *self.notes]
        lines += [f'  {reason}' for reason in list(self.failed.values())[:SHOWN]]
        if len(self.failed) > SHOWN:
            lines.append(f'  ... and {len(self.failed) - SHOWN} more')
        if self.failed:
            rest = 'Everything else is in place. ' if self.written + self.kept else ''
            lines.append(f'{rest}Put these right and run the same command again: it converts only them.')
        return '\n'.join(lines)


_Convert = Callable[[Path, Path], str | None]


def convert_files(
    convert: _Convert,
    pairs: Sequence[tuple[Path, Path]],
    title: str,
    workers: int | None = None,
    overwrite: bool = False,
    channels: int = 1,
) -> Outcome:
    """Convert each source to its target, a PNG file of 1 or 3 channels, in several processes.

    A target that is whole, of the right kind and not older than its source is left alone, so that a second
    run converts what a first one could not.

    Args:
        convert (Callable): Writes a target, given source and target. Its ``ValueError`` or ``OSError`` fails
            this file alone. Returns a note for the user, or None.
        pairs (Sequence): (source, target) of each file.
        title (str): Title of the progress bar.
        workers (int | None): Processes. Defaults to None, the number of cores.
        overwrite (bool): Convert all files anew. Defaults to False.
        channels (int): 1 for labels, 3 for images. Defaults to 1.
    """
    outcome = Outcome()
    todo = [pair for pair in pairs if overwrite or not _is_done(*pair, channels)]
    outcome.kept = len(pairs) - len(todo)
    # Results first: zip asks for one more than there are, which completes the bar and ends the processes.
    results = run_parallel(partial(_convert_one, convert), todo, workers, title if todo else None)
    for (note, reason), (source, _) in zip(results, todo):
        outcome.notes += [note] if note else []
        if reason is None:
            outcome.written += 1
        else:
            outcome.failed[source] = reason
    return outcome


def _is_done(source: Path, target: Path, channels: int) -> bool:
    try:
        return target.stat().st_mtime_ns >= source.stat().st_mtime_ns and is_whole_png(target, channels)
    except FileNotFoundError:  # of the source too: the conversion says so
        return False


def _convert_one(convert: _Convert, pair: tuple[Path, Path]) -> tuple[str | None, str | None]:
    """The note of a conversion, and why it failed."""
    try:
        return convert(*pair), None
    except (ValueError, OSError) as error:
        return None, naming(pair[0], error)


def naming(path: Path, error: Exception) -> str:
    """The text of an error; with the file in front, where it does not name it."""
    text = str(error)
    return text if str(path) in text else f'{path}: {text}'


def check_folder(argument: str, folder: str | Path, needed: Sequence[str]) -> Path:
    """The folder that a user names in an argument, if it is the right one and not its parent or a part of it.

    Raises:
        FileNotFoundError: It does not exist or lacks one of ``needed``, of which the most telling come first.
        ValueError: One of them is a symbolic link that leads out of it.
    """
    folder, cure = Path(folder), '--help says where the files come from and how they lie'
    check_path(f'{argument}: the converter', folder, f'{cure}.')
    missing = [name for name in needed if not (folder / name).exists()]
    if not missing:
        check_inside(argument, folder, (folder / name for name in needed))
        return folder
    names = sorted(path.name for path in folder.glob('*') if not path.name.startswith('.'))
    meant, holds = folder_meant(folder, needed), first_few(names, LISTED) or 'nothing'
    text = f'{argument}: {str(folder)!r} has no {" and no ".join(missing)}, it holds {holds}'
    raise FileNotFoundError(f'{text}. {f"Did you mean {str(meant)!r}?" if meant else cure}')


def read_file(path: Path, kind: str, read: Callable[[Path], Any]) -> Any:
    """What ``read`` makes of a file, which should be a ``kind``: 'an image'.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or it is broken or truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        return read(path)
    except Exception as error:  # of many kinds, depending on where the bytes stop making sense
        size = path.stat().st_size
        text = f'{path} ({size} bytes) cannot be read as {kind}: {error}. Unpack or download it again'
        raise ValueError(text) from error


def read_names(path: Path) -> list[str]:
    """The lines of a split list, without blank ones; raises where there are none."""
    # With or without the mark that editors on Windows put in front.
    text = read_file(path, 'text in UTF-8', lambda path: path.read_text(encoding='utf-8-sig'))
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise ValueError(f'{path} names no image. Unpack it again')
    return names


def read_mat(path: Path, name: str) -> np.ndarray:
    """A variable of a MATLAB file; raises FileNotFoundError or ValueError where it cannot be read."""
    import scipy.io

    content = read_file(path, 'a MATLAB file', lambda path: scipy.io.loadmat(path, variable_names=[name]))
    if name not in content:
        names = [entry[0] for entry in scipy.io.whosmat(path)]
        raise ValueError(f'{path} has no variable {name!r}, it holds {names}')
    return content[name]


def _read_image(path: Path, read: Callable[[Image.Image], Any]) -> Any:
    def opened(path: Path) -> Any:
        with Image.open(path) as image:
            return read(image)

    return read_file(path, 'an image', opened)


def read_label_image(path: Path) -> np.ndarray:
    """The values of a label image: grey values, or the numbers of palette colours."""
    return _read_image(path, np.asarray)


def read_colours(path: Path) -> np.ndarray:
    """Red, green and blue of an image, H x W x 3."""
    return _read_image(path, lambda image: np.asarray(image.convert('RGB')))


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, by its header alone."""
    return _read_image(path, lambda image: image.size[::-1])


def check_image(path: Path, size: tuple[int, int], decode: bool = True) -> None:
    """Raise unless there is an image of its labels' height and width; with ``decode``, one that is whole."""
    height, width = image_size(path)
    if (height, width) != tuple(size):
        text = f'the image is {height} x {width} (height x width)'
        raise ValueError(f'{path}: {text}, its labels are {size[0]} x {size[1]}')
    if decode:
        _read_image(path, lambda image: image.load())


def translate(labels: np.ndarray, table: np.ndarray, path: Path, expected: str) -> np.ndarray:
    """Number labels (H x W whole numbers) anew, as uint8: ``table`` has -1 where there is no such label.

    Raises:
        ValueError: They are no label map, or one holds other labels.
    """
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in 'uif':
        found = f'{labels.dtype} of shape {labels.shape}'
        raise ValueError(f'{path} holds {found}, expected {expected}, height x width')
    known = np.flatnonzero(table >= 0)
    if not np.isin(labels, known).all():
        wrong = first_few(np.setdiff1d(labels, known).tolist(), LISTED)
        raise ValueError(f'{path} holds the labels {wrong}, expected {expected}')
    return table[labels.astype(np.intp)].astype(np.uint8)
