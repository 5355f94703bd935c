"""The one door through which checkpoint files are read and written.

mmengine unpickles a file whose safe reading fails, reads what it downloads without any safety, and writes
over a file in place. :func:`install` puts these functions in the place of mmengine's, so that every key and
tool (``load_from``, ``resume``, ``init_cfg``, ``torchvision://`` ...) goes through them.
"""

import contextlib
import errno
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from kd_methods.compat.checkpoints import safe_globals
from kd_methods.utils.files import atomic_path

#: A file that is compressed beyond this factor, to more than this size, is refused: torch compresses nothing.
MOST_INFLATION, MOST_INFLATED = 8, 2**28

_trusted = False


@contextlib.contextmanager
def trusted_files(trusted: bool = True) -> Iterator[None]:
    """Files read inside of this may hold arbitrary Python objects, whose unpickling runs code."""
    global _trusted
    before, _trusted = _trusted, trusted
    try:
        yield
    finally:
        _trusted = before


class DamagedFile(ValueError):
    """A file that is not as it was written."""


class UnsafeFile(ValueError):
    """A file that holds more than tensors and plain values."""


def read_checkpoint(path: str | Path | Any, map_location: Any = None) -> Any:
    """Read a checkpoint without running code that it may carry.

    Config texts of mmengine (``meta['config']``), which its Runner executes, are taken out.

    Args:
        path (str | Path | Any): A local file, or an open one.
        map_location (Any): As of ``torch.load``. Defaults to None.

    Raises:
        DamagedFile: It is truncated, changed, or no checkpoint at all.
        UnsafeFile: It holds other objects than checkpoints of OpenMMLab do.
    """
    check_whole(path)
    try:
        if _trusted:
            checkpoint = torch.load(path, map_location=map_location, weights_only=False)
        else:
            with torch.serialization.safe_globals(safe_globals()):
                checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise UnsafeFile(_first_line(error)) from error
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the bytes of a file that is no pickle may mean anything
        raise DamagedFile(_first_line(error)) from error
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def check_whole(path: str | Path | Any) -> None:
    """Raise unless a file is as torch wrote it: its zip archive is complete and its checksums are right.

    Files of torch before 1.6 are no archives, and hold no checksums.

    Raises:
        DamagedFile: It is empty or truncated, a checksum is wrong, or it would inflate beyond measure.
    """
    if isinstance(path, (str, Path)):
        if os.path.getsize(path) == 0:
            raise DamagedFile('the file is empty')
        with open(path, 'rb') as file:
            start = file.read(64)
        if not start.startswith(b'PK'):
            if not start.strip(b'\0'):
                raise DamagedFile('the file holds zeros')
            return
    elif not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            packed = sum(entry.compress_size for entry in archive.infolist())
            inflated = sum(entry.file_size for entry in archive.infolist())
            if inflated > max(MOST_INFLATED, MOST_INFLATION * packed):
                raise DamagedFile(f'{packed:,} bytes would unpack to {inflated:,}, which torch never writes')
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise DamagedFile(f'truncated or changed: {_first_line(error)}') from error
    if broken is not None:
        raise DamagedFile(f'the checksum of {broken} in it is wrong')


def write_checkpoint(
    checkpoint: Any, filename: str, file_client_args: dict | None = None, backend_args: dict | None = None
) -> None:
    """Write a checkpoint next to its place, flush it to disk, and rename it: a reader meets the old file or
    the new one. Arguments as of mmengine's ``save_checkpoint``; other places than local files are left to it.
    """
    from mmengine.fileio import get_file_backend
    from mmengine.fileio.backends import LocalBackend

    local = file_client_args is None and not filename.startswith('pavi://')
    if local and isinstance(get_file_backend(filename, backend_args=backend_args), LocalBackend):
        with atomic_path(filename) as part:
            try:
                torch.save(checkpoint, part)
            except RuntimeError as error:  # of torch's own writer, where the disk refuses
                if not _REFUSED.search(str(error)):
                    raise
                raise OSError(
                    errno.EIO,
                    f'{_first_line(error)}: no room on the disk, or a limit of file sizes',
                    filename,
                ) from error
    else:
        stock_save(checkpoint, filename, file_client_args, backend_args)


_REFUSED = re.compile('PytorchStreamWriter|inline_container|write failed|unexpected pos')
stock_save: Callable | None = None  #: mmengine's ``save_checkpoint``


def install() -> None:
    """Let mmengine read and write through this module."""
    from mmengine import runner as package
    from mmengine.runner import checkpoint, runner

    global stock_save
    if stock_save is not None:
        return
    stock_save = checkpoint.save_checkpoint
    checkpoint._safe_torch_load = _read_for_mmengine
    checkpoint.load_url = _read_url
    for module in (package, checkpoint, runner):
        module.save_checkpoint = write_checkpoint


def _read_for_mmengine(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    """mmengine's own name for reading a file; its errors become sentences."""
    try:
        return read_checkpoint(file, map_location)
    except UnsafeFile as error:
        raise UnsafeFile(
            f'{file} was not loaded, because it holds Python objects that could run code ({error}). Take a '
            'file of tensors: `tools/export.py --trusted` makes one, where you know where it comes from.'
        ) from error
    except DamagedFile as error:
        raise DamagedFile(f'{file} is no readable checkpoint: {error}') from error


def _read_url(url: str, *args: Any, map_location: Any = None, **kwargs: Any) -> Any:
    """A file from the network, through torch's cache."""
    return _read_for_mmengine(fetch(url), map_location)


def fetch(url: str) -> str:
    """Download a file once to torch's cache, whole or not at all; its path there."""
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / url.split('?')[0].rsplit('/', 1)[-1]
    if not target.exists():
        try:
            torch.hub.download_url_to_file(url, str(target))
        except OSError as error:
            raise FileNotFoundError(
                f'{url} could not be downloaded ({_first_line(error)}). Without a network, put the file at '
                f'{target}, or leave it out (init_cfg=None, pretrained=None).'
            ) from error
    return str(target)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
