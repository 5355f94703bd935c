"""What converters of many files share: skip what is there, write whole files, name what failed and go on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kd_methods.utils.files import folder_meant, is_whole_png
from kd_methods.utils.parallel import run_parallel

SHOWN = 10  # failed files that are printed
LISTED = 5  # names or values that a message gives as examples


@dataclass
class Outcome:
    """What became of the files of a conversion.

    Attributes:
        written (int): Files that were converted.
        kept (int): Files that were there already, whole and not older than their source.
        failed (dict[Path, str]): Source -> a sentence that names it and says why it could not be converted.
        notes (list[str]): Further lines for the user.
    """

    written: int = 0
    kept: int = 0
    failed: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __add__(self, other: 'Outcome') -> 'Outcome':
        return Outcome(
            self.written + other.written,
            self.kept + other.kept,
            {**self.failed, **other.failed},
            self.notes + other.notes,
        )

    @property
    def exit_code(self) -> int:
        """0 where all files are there, 1 otherwise."""
        return 1 if self.failed else 0

    def __str__(self) -> str:
        lines = [
            f'{self.written} files written, {self.kept} there already, {len(self.failed)} failed',
            *self.notes,
        ]
        lines += [f'  {reason}' for reason in list(self.failed.values())[:SHOWN]]
        if len(self.failed) > SHOWN:
            lines.append(f'  ... and {len(self.failed) - SHOWN} more')
        if self.failed:
            rest = 'Everything else is in place. ' if self.written + self.kept else ''
            lines.append(f'{rest}Put these right and run the same command again: it converts only them.')
        return '\n'.join(lines)


def convert_files(
    convert: Callable[[Path, Path], str | None],
    pairs: Sequence[tuple[Path, Path]],
    title: str,
    workers: int | None = None,
    overwrite: bool = False,
    channels: int = 1,
) -> Outcome:
    """Convert each source to its target, in several processes.

    Targets are PNG files. One that is whole, of the right kind and not older than its source is left alone,
    so that a second run converts what a first one could not; targets are written whole or not at all.

    Args:
        convert (Callable): Takes a source and a target and writes the target
            (:func:`kd_methods.utils.files.save_png`). A ``ValueError`` or ``OSError`` of it fails this file
            alone; its text names the file. What it returns is a note for the user, or None.
        pairs (Sequence): (source, target) of each file.
        title (str): Title of the progress bar.
        workers (int | None): Processes. Defaults to None, the number of cores.
        overwrite (bool): Convert all files anew. Defaults to False.
        channels (int): Of the targets: 1 for labels, 3 for images. Defaults to 1.
    """
    outcome = Outcome()
    todo = []
    for source, target in pairs:
        if not overwrite and _is_done(source, target, channels):
            outcome.kept += 1
        else:
            todo.append((source, target))
    # The results come first: zip then asks for one more than there are, which completes the bar and ends the
    # processes.
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


def _convert_one(
    convert: Callable[[Path, Path], str | None], pair: tuple[Path, Path]
) -> tuple[str | None, str | None]:
    """The note of a conversion, and why it failed."""
    source, target = pair
    try:
        return convert(source, target), None
    except (ValueError, OSError) as error:
        return None, naming(source, error)


def naming(path: Path, error: Exception) -> str:
    """The text of an error; with the file in front, where it does not name it."""
    text = str(error)
    return text if str(path) in text else f'{path}: {text}'


def check_folder(argument: str, folder: str | Path, needed: Sequence[str]) -> Path:
    """The folder that a user names, once it is sure to be the right one and not its parent or a part of it.

    Args:
        argument (str): Name of the argument, for the message.
        folder (str | Path): The folder.
        needed (Sequence[str]): Files and folders that it holds, the most telling one first.

    Raises:
        FileNotFoundError: It does not exist or lacks one of them; says what it holds and which folder was
            meant, if one nearby has them all.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'{argument}: no folder {str(folder)!r}')
    missing = [name for name in needed if not (folder / name).exists()]
    if not missing:
        return folder
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith('.'))
    holds = (
        ', '.join(names[:LISTED]) + (f', ... ({len(names)} in all)' if len(names) > LISTED else '')
        if names
        else 'nothing'
    )
    meant = folder_meant(folder, needed)
    cure = (
        f'Did you mean {str(meant)!r}?' if meant else '--help says where the files come from and how they lie'
    )
    raise FileNotFoundError(
        f'{argument}: {str(folder)!r} has no {" and no ".join(missing)}, it holds {holds}. {cure}'
    )


def read_names(path: Path) -> list[str]:
    """The lines of a split list, without blank ones.

    Raises:
        ValueError: It is empty, or no text in UTF-8.
    """
    try:
        text = path.read_text(
            encoding='utf-8-sig'
        )  # with or without the mark that editors on Windows put in front
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is no text in UTF-8: {error}. Unpack it again, or save it as UTF-8'
        ) from error
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise ValueError(f'{path} names no image. Unpack it again')
    return names


def read_mat(path: Path, name: str) -> np.ndarray:
    """A variable of a MATLAB file.

    Raises:
        FileNotFoundError, ValueError: There is no such file, it is broken or truncated, or does not hold the
            variable.
    """
    import scipy.io

    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        content = scipy.io.loadmat(path, variable_names=[name])
    except Exception as error:  # of many kinds, depending on where the bytes stop making sense
        raise ValueError(
            f'{path} ({path.stat().st_size} bytes) cannot be read as a MATLAB file: {error}. Unpack or '
            'download it again'
        ) from error
    if name not in content:
        raise ValueError(
            f'{path} has no variable {name!r}, it holds {[entry[0] for entry in scipy.io.whosmat(path)]}'
        )
    return content[name]


def read_label_image(path: Path) -> np.ndarray:
    """The values of a label image: grey values, or the numbers of palette colours.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or it is broken or truncated.
    """
    return np.asarray(_open_image(path, lambda image: image.copy()))


def read_colours(path: Path) -> np.ndarray:
    """Red, green and blue of an image, H x W x 3.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or it is broken or truncated.
    """
    return np.asarray(_open_image(path, lambda image: image.convert('RGB')))


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, by its header alone.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or it is no image.
    """
    width, height = _open_image(path, lambda image: image.size)
    return height, width


def check_image(path: Path, size: tuple[int, int], decode: bool = True) -> None:
    """Check that there is an image of the height and width of its labels.

    Args:
        path (Path): The image.
        size (tuple[int, int]): Height and width of its labels.
        decode (bool): Read all of it, so that a truncated one is noticed, in place of its header alone.
            Defaults to True.

    Raises:
        FileNotFoundError, ValueError: There is none, it is broken or truncated, or it has another size.
    """
    found = image_size(path)
    if found != tuple(size):
        raise ValueError(
            f'{path}: the image is {found[0]} x {found[1]} (height x width), its labels are {size[0]} x '
            f'{size[1]}'
        )
    if decode:
        _open_image(path, lambda image: image.load())


def _open_image(path: Path, read: Callable[[Any], Any]) -> Any:
    from PIL import Image

    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        with Image.open(path) as image:
            return read(image)
    except Exception as error:  # of many kinds, depending on where the bytes stop making sense
        raise ValueError(
            f'{path} ({path.stat().st_size} bytes) cannot be read as an image: {error}. Unpack or download '
            'it again'
        ) from error


def translate(labels: np.ndarray, table: np.ndarray, path: Path, expected: str) -> np.ndarray:
    """Number labels anew.

    Args:
        labels (np.ndarray): H x W whole numbers.
        table (np.ndarray): New label of each label from 0; -1 where there is no such label.
        path (Path): Where they are from, for the message.
        expected (str): What the file should hold, for the message.

    Returns:
        np.ndarray: H x W, uint8.

    Raises:
        ValueError: They are no label map, or one holds other labels.
    """
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in 'uif':
        raise ValueError(
            f'{path} holds {labels.dtype} of shape {labels.shape}, expected {expected}, height x width'
        )
    known = np.flatnonzero(table >= 0)
    if not np.isin(labels, known).all():
        wrong = np.setdiff1d(labels, known).tolist()
        more = ', ...' if len(wrong) > LISTED else ''
        raise ValueError(
            f'{path} holds the labels {", ".join(map(str, wrong[:LISTED]))}{more}, expected {expected}'
        )
    return table[labels.astype(np.intp)].astype(np.uint8)
