"""Files that are there whole or not at all, folders into which one process writes, and missing paths."""

import fcntl
import os
import os.path as osp
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mmengine.fileio import get_file_backend
from mmengine.fileio.backends import LocalBackend
from PIL import Image

_LOCAL = (None, 'local', 'disk')  # the file system's names among mmengine's backends, new and old


@contextmanager
def atomic_path(
    path: str | Path, flush: bool = True, shared: bool = False, first: bool = False
) -> Iterator[Path]:
    """Give a place to write to; what was written becomes ``path`` if the block ends without an error.

    Readers meet the old file or the new one, also after a kill or a loss of power. The place is hidden and in
    the same folder, which is made; no loader takes it for an image, and the next attempt writes over what a
    killed process left.

    Args:
        path (str | Path): The file.
        flush (bool): Have it on the disk before it takes its name. False for files that the next run would
            find broken and write again. Defaults to True.
        shared (bool): Other processes may write it at the same time: each has a place of its own, which a
            killed one leaves. Defaults to False.
        first (bool): A file that is there by then stays. Defaults to False.

    Raises:
        FileExistsError: It does, with ``first``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.part' if shared else f'.{path.name}.part')
    part.unlink(missing_ok=True)  # what was left there may be a link: never write into it
    try:
        yield part
        if flush:
            _sync(part)
        (os.link if first else os.replace)(part, path)
        if flush:
            _sync(path.parent)  # the name itself
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def exclusive_folder(folder: str | Path, busy: str | None = None) -> Iterator[int]:
    """Make a folder, and refuse a second run that writes into it at the same time.

    Gives the open folder: a started process that keeps it open (``pass_fds``) holds it too. The lock is on
    the folder itself and leaves no file (filelock's needs one). On a disk without locks there is no check.

    A mistyped folder would be made too: check first where it has to be there already.

    Args:
        busy (str | None): What a second run is told. Defaults to None, a sentence that fits any.

    Raises:
        ValueError: Another process is writing there, or it is a file.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f'{folder} is a file or lies below one, expected a folder: {error}') from error
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        busy = busy or f'{folder}: another process is writing here. Wait for its end and run this again'
        raise ValueError(busy) from error
    except OSError:  # no locks on this disk
        pass
    try:
        yield handle
    finally:
        os.close(handle)


def is_local(path: str, backend_args: dict | None = None) -> bool:
    """Whether a path is one of the file system, not ``s3://...``, ``cluster:s3://...`` or of a backend."""
    return '://' not in path and (backend_args or {}).get('backend') in _LOCAL


def check_path(
    reader: str, path: str | Path, cure: str, root: str = '', backend_args: dict | None = None
) -> None:
    """Raise unless a file or folder is there, which ``reader`` needs and may lie in the data root ``root``.

    One on another machine is taken to be there.

    Raises:
        FileNotFoundError: It is not there; the message ends with ``cure``, a sentence.
    """
    if is_local(str(path), backend_args) and not osp.exists(path):
        below = f' (data_root={str(root)!r})' if root else ''
        raise FileNotFoundError(f'{reader} finds no {str(path)!r}{below} from {os.getcwd()}. {cure}')


def folder_meant(folder: str | Path, needed: Sequence[str]) -> Path | None:
    """The folder that holds all of ``needed``, where one was named that lies one or two levels off."""
    below = sorted(Path(folder).glob('*/')) + sorted(Path(folder).glob('*/*/'))
    candidates = [*Path(folder).resolve().parents[:2], *below]
    return next((place for place in candidates if all((place / name).exists() for name in needed)), None)


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file at another place too, whole or not at all: as a hard link, or a copy where that cannot be.

    Of a symbolic link, the file that it points to is linked.
    """
    with atomic_path(target) as part:
        try:
            os.link(source.resolve(), part)
        except OSError:
            shutil.copyfile(source, part)


def save_png(path: str | Path, array: np.ndarray, palette: np.ndarray | None = None, level: int = 6) -> None:
    """Write an image or a label map as PNG, whole or not at all.

    Args:
        path (str | Path): The file.
        array (np.ndarray): H x W (x 3) uint8, or H x W uint16.
        palette (np.ndarray | None): RGB of each label for viewers, K x 3 uint8. Defaults to None.
        level (int): Compression from 0 to 9. Defaults to 6.
    """
    image = Image.fromarray(np.ascontiguousarray(array))
    if palette is not None:
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    with atomic_path(path, flush=False) as part:
        image.save(part, format='PNG', compress_level=level)


def is_whole_png(path: str | Path, channels: int = 1) -> bool:
    """Whether a file is a PNG with right checksums to its end: of 8 bits, grey or palette (1), or RGB (3)."""
    try:
        with Image.open(path, formats=['PNG']) as image:
            image.verify()
            return image.mode in {1: ('L', 'P'), 3: ('RGB',)}[channels]
    except FileNotFoundError:
        raise
    except Exception:  # of many kinds, depending on where the bytes stop making sense
        return False


def write_file(data: bytes | str, path: str | Path, backend_args: dict | None = None) -> None:
    """Write a file, local or of a backend of mmengine, so that a reader never meets half of it."""
    data = data.encode() if isinstance(data, str) else data
    backend = get_file_backend(str(path), backend_args=backend_args)
    if not isinstance(backend, LocalBackend):
        backend.put(data, str(path))
        return
    with atomic_path(path) as part:
        part.write_bytes(data)
