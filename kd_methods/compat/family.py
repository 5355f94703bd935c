"""Packages that a config needs and that are not installed: a sentence before anything is built."""

import contextlib
import importlib.util
import re
from collections.abc import Iterator
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE

from kd_methods.compat.packages import REQUIREMENTS
from kd_methods.utils.parts import walk

_KEYS = ('type', '_scope_', 'default_scope')


def lacking(text: str) -> str:
    """The first package of OpenMMLab that a text names and that is not installed; '' where there is none."""
    named = [name for name in re.findall(r'\w+', text) if name in MODULE2PACKAGE]
    return next((name for name in named if importlib.util.find_spec(name) is None), '')


def check_installed(cfg: Any, key: str = '') -> None:
    """Raise if types in a config are of a package of OpenMMLab that is not installed.

    Args:
        cfg: A config, or a part of one.
        key (str): Its key. Defaults to '', the config itself.

    Raises:
        ValueError: One is; the message names it and the packages that are supported.
    """
    for where, value in walk(cfg, key):
        name = where.rpartition('.')[2]
        if name in _KEYS and isinstance(value, str) and lacking(value.partition('.')[0]):
            raise ValueError(f'{where}={value!r} {_needs(lacking(value))}')


@contextlib.contextmanager
def naming_imports(key: str, path: str) -> Iterator[None]:
    """Say which package or module a config lacks that is read inside of this.

    Args:
        key (str): Config key that holds ``path``.
        path (str): The config.

    Raises:
        ValueError: Its package is not installed, or what it imports cannot be.
    """
    package = path.partition('::')[0] if '::' in path else ''
    if package and importlib.util.find_spec(package) is None:  # mmengine would install it
        raise ValueError(f'{key}: {path!r} {_needs(package)}')
    try:
        yield
    except ImportError as error:
        first: BaseException = error
        while first.__cause__ or first.__context__:
            first = first.__cause__ or first.__context__
        if lacking(str(first)):
            raise ValueError(f'{key}: {path!r} {_needs(lacking(str(first)))}') from error
        cure = 'Correct its custom_imports, or put the folder that holds the module on PYTHONPATH.'
        raise ValueError(f'{key}: {path!r} imports what cannot be imported ({first}). {cure}') from error


def _needs(package: str) -> str:
    supported = ', '.join(need.module for need in REQUIREMENTS[1:])
    return f'needs {package}, which is not installed and not among the supported packages ({supported}).'
