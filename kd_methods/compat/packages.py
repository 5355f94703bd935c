"""The check of the installed packages. Only the standard library is imported here."""

import importlib.metadata
import importlib.util
import re
import warnings
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import NamedTuple


class Requirement(NamedTuple):
    """A package this project was tested with.

    Args:
        module (str): Name in ``import``.
        package (str): Name in ``pip install``.
        tested (str): The version the tests run with.
        flags (str): Options that ``pip install`` needs. Defaults to none.
        old (tuple[str]): Packages of other names that bring the module in a version that does not work.
        minimum (str): The oldest version that can work, where not the whole release line does.
    """

    module: str
    package: str
    tested: str
    flags: str = ''
    old: tuple = ()
    minimum: str = ''

    @property
    def command(self) -> str:
        """What installs the tested version."""
        return ' '.join(filter(None, ('pip install', self.flags, f'{self.package}=={self.tested}')))


# Their builds import torch; without it, as in pip's isolated build, mmcv silently leaves out its ops.
_BUILD = '--no-build-isolation'
REQUIREMENTS = (
    # 2.6: the first whose safe_globals takes (object, name) pairs
    Requirement('torch', 'torch', '2.13.0', minimum='2.6'),
    Requirement('mmengine', 'onedl-mmengine', '0.10.12', old=('mmengine', 'mmengine-lite')),
    Requirement('mmcv', 'onedl-mmcv', '2.3.6', _BUILD, old=('mmcv', 'mmcv-full', 'mmcv-lite')),
    Requirement('mmdet', 'onedl-mmdetection', '3.5.1', _BUILD, old=('mmdet',)),
    Requirement('mmseg', 'onedl-mmsegmentation', '1.4.2', _BUILD, old=('mmsegmentation',)),
    Requirement('mmrazor', 'mmrazor', '1.0.0'),
)


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, None if there is none of that name."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def has_compiled_ops() -> bool:
    """Whether mmcv was built with its ops; they are not imported."""
    mmcv = importlib.util.find_spec('mmcv')
    # find_spec('mmcv._ext') would import mmcv
    return bool(PathFinder.find_spec('mmcv._ext', mmcv.submodule_search_locations))


def check_packages(
    version_of: Callable[[str], str | None] = installed_version,
    has_ops: Callable[[], bool] = has_compiled_ops,
) -> None:
    """Compare what is installed with what was tested.

    Another version of the tested release line gives a warning, one for all packages together.

    Raises:
        ImportError: A package is missing or of another release line, an old package lies over its
            onedl-* successor, or mmcv has no ops. The message has the command that mends it.
    """
    untested = []
    for need in REQUIREMENTS:
        found = version_of(need.package)
        for name in need.old:
            if version_of(name) is not None:
                _raise_old(need, found, name, version_of(name))
        if found is None:
            what = f"in version {need.tested} (module '{need.module}'). Run: {need.command}"
            raise ImportError(f'{need.package} is not installed; kd_methods needs it {what}')
        if _line(found) != _line(need.tested) or _numbers(found) < _numbers(need.minimum):
            lines = f'any {".".join(map(str, _line(need.tested)))}.x'
            if need.minimum:
                lines += f' from {need.minimum} on'
            works = f'was tested with {need.tested} and may work with {lines}, but not with {found}'
            raise ImportError(f'Found {need.package} {found}; kd_methods {works}. Run: {need.command}')
        if found.split('+')[0] != need.tested:  # a build of torch is 2.13.0+cpu
            untested.append(f'{need.package} {found} (tested: {need.tested})')
        if need.module == 'mmcv' and not has_ops():
            command = need.command.replace('install', 'install --force-reinstall --no-deps --no-cache-dir', 1)
            what = (
                f'Found {need.package} {found} without its compiled ops (mmcv._ext); kd_methods needs them.'
            )
            why = 'They are left out where the build finds no torch or no compiler: install torch, ninja'
            raise ImportError(f'{what} {why} and gcc, then run: {command}')
    if untested:
        warnings.warn(f'kd_methods was tested with other versions than these: {", ".join(untested)}.')


def _raise_old(need: Requirement, found: str | None, name: str, version: str) -> None:
    if found is None:
        said, remove = f'{need.package} is not', name
    else:  # the files of the two lie over each other, whichever came last
        said, remove = f'{need.package} {found} is, too', f'{name} {need.package}'
    both = f"both bring the module '{need.module}', and kd_methods needs that of {need.package} {need.tested}"
    cure = f'Run: pip uninstall -y {remove} && {need.command}'
    raise ImportError(f'{name} {version} is installed, {said}; {both}. {cure}')


def _numbers(version: str) -> list[int]:
    """``'2.13.0+cpu'`` -> [2, 13, 0]; ``''`` -> []."""
    return [int(part) for part in re.findall(r'\d+', version.split('+')[0])]


def _line(version: str) -> list[int]:
    """The release line: 2 of ``2.3.6``; before version 1 the minor number is part of it."""
    numbers = _numbers(version)
    return numbers[:2] if numbers[:1] == [0] else numbers[:1]
