"""Files that are there whole or not at all, and folders into which one process writes at a time."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from mmengine.fileio import get_file_backend
from mmengine.fileio.backends import LocalBackend

_PNG_HEAD, _PNG_END = b'\x89PNG\r\n\x1a\n', b'\x00\x00\x00\x00IEND\xaeB`\x82'
# Channels -> bits and kind of colour, as the header has them. The numbers of a short palette take less than 8
# bits.
_PNG_KINDS = {1: ((8, 0), (1, 3), (2, 3), (4, 3), (8, 3)), 3: ((8, 2),)}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a place to write to; what was written becomes ``path`` if the block is left without an error.

    Readers meet the old file or the new one. The place is hidden and in the same folder, which is made; no
    loader takes it for an image, and the next attempt writes over what a killed process left.

    Args:
        path (str | Path): The file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def only_run(folder: str | Path, busy: str | None = None) -> Iterator[int]:
    """Make a folder, and refuse a second run that writes into it at the same time; on a disk without locks
    there is no check.

    Gives the open folder: a started process that keeps it open (``pass_fds``) holds it too.

    Args:
        folder (str | Path): The folder. A mistyped one would be made too: check first where it has to be
            there already.
        busy (str | None): What to say to a second run. Defaults to None, a sentence that fits any.

    Raises:
        ValueError: Another process is writing there, or it is a file.
    """
    import fcntl

    try:
        os.makedirs(folder, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f'{folder} is a file or lies below one, expected a folder: {error}') from error
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            busy = busy or f'{folder}: another process is writing here. Wait for its end and run this again'
            raise ValueError(busy) from error
        except OSError:
            pass
        yield handle
    finally:
        os.close(handle)


def nearby(folder: str | Path, needed: Sequence[str]) -> Path | None:
    """The folder that was meant, where one was named that lies one or two levels too high or too deep.

    Args:
        folder (str | Path): The folder that was named; need not exist.
        needed (Sequence[str]): Files and folders that the right one holds.
    """
    above = list(Path(folder).resolve().parents[:2])
    below = _folders(folder)
    places = chain(above, below, (inner for place in below for inner in _folders(place)))
    return next((place for place in places if all((place / name).exists() for name in needed)), None)


def _folders(folder: str | Path) -> list[Path]:
    """The folders in a folder; none if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding='utf-8')


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file at another place too, whole or not at all: as a hard link, which takes no room, or as a
    copy.

    A copy is made where the disk has no links, or is another one. The link is to what a symbolic link points
    to."""
    with replacing(target) as part:
        part.unlink(missing_ok=True)  # what a killed process left may be a link: never write into it
        try:
            os.link(source.resolve(), part)
        except OSError:
            shutil.copyfile(source, part)


def save_png(path: str | Path, array: np.ndarray, palette: np.ndarray | None = None, level: int = 6) -> None:
    """Write an image or a label map as PNG, whole or not at all.

    Args:
        path (str | Path): The file.
        array (np.ndarray): H x W (x 3) uint8, or H x W uint16.
        palette (np.ndarray | None): RGB of each label, K x 3 uint8, for viewers; loaders read the labels.
            Defaults to None.
        level (int): Compression from 0 to 9. Defaults to 6.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(array))
    if palette is not None:
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    with replacing(path) as part:
        image.save(part, format='PNG', compress_level=level)


def is_whole_png(path: str | Path, channels: int = 1) -> bool:
    """Whether a file is a PNG of that kind by its header, and ends as a PNG does; one that stopped half-way
    does not.

    Args:
        path (str | Path): The file.
        channels (int): 1, grey or numbers of a palette, or 3, red, green and blue; of 8 bits. Defaults to 1.
    """
    with open(path, 'rb') as file:
        head = file.read(26)
        if not head.startswith(_PNG_HEAD) or tuple(head[24:]) not in _PNG_KINDS[channels]:
            return False
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - len(_PNG_END), 0))
        return file.read() == _PNG_END


def write_file(data: bytes | str, path: str | Path, backend_args: dict | None = None) -> None:
    """Write a file so that a reader never meets half of it.

    Args:
        data (bytes | str): Content.
        path (str | Path): A local path, or an address that mmengine's file backends know.
        backend_args (dict, optional): Arguments of the file backend.
    """
    data = data.encode() if isinstance(data, str) else data
    backend = get_file_backend(str(path), backend_args=backend_args)
    if not isinstance(backend, LocalBackend):
        backend.put(data, str(path))
        return
    with replacing(path) as part:
        part.write_bytes(data)
