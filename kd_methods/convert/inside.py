"""Names and symbolic links must not lead a converter out of its folders."""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePath
from typing import Any

_CURE = 'Such a file is not what it is taken for: get it again, or mend it'


def check_names(path: Path, names: Iterable[Any]) -> None:
    """Raise unless each name of a file stays below the folder in which it is looked up.

    Args:
        path (Path): The list or annotation file.
        names (Iterable): What it names.

    Raises:
        ValueError: A name is absolute, has ``..`` in it, or is no name at all.
    """
    for name in names:
        if not isinstance(name, str) or not name or '\0' in name:
            raise ValueError(f'{path}: {name!r} is no name of a file. {_CURE}')
        if PurePath(name).is_absolute() or '..' in PurePath(name).parts:
            raise ValueError(f'{path}: the name {name!r} leads out of its folder and is refused. {_CURE}')


def check_inside(argument: str, folder: Path, paths: Iterable[Path]) -> None:
    """Raise unless each path ends in a folder, wherever symbolic links lead; it need not be there.

    The folder itself may be a link.

    Args:
        argument (str): Name of the argument that gave the folder, for the message.
        folder (Path): The folder.
        paths (Iterable[Path]): What is read or written below it.

    Raises:
        ValueError: A path ends elsewhere.
    """
    root, real_parent = os.path.realpath(folder), cache(os.path.realpath)
    for path in paths:
        real = os.path.join(real_parent(path.parent), path.name)
        if path.name == '..' or os.path.islink(real):
            real = os.path.realpath(real)
        if real != root and not real.startswith(os.path.join(root, '')):
            raise ValueError(
                f'{argument}: {path} leads out of {folder}, to {real}, and is refused. Nothing was written. '
                'Put the files themselves (or hard links) there in place of symbolic links'
            )
