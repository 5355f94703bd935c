"""Everything this project knows about the quirks of mmrazor and of the onedl-* packages.

:func:`setup` is called once by ``import kd_methods``. It

* checks the installed packages and says what to install (:func:`check_packages`);
* keeps mmengine from pip-installing the old ``mmsegmentation`` over ``onedl-mmsegmentation`` when a config names
  ``mmseg::...`` (:func:`cure_package_names`);
* keeps mmseg's and mmdet's "Could not import OneDL" out of the log (:func:`quiet_onedl`);
* imports the distillation part of MMRazor, and nothing else of it (:func:`import_mmrazor`).

mmseg and mmdet themselves are not imported here: mmengine's registries do that at the first look-up.
"""

import ast
import importlib
import importlib.metadata
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

# ---------------------------------------------------------------- installed packages


class Requirement(NamedTuple):
    """A package this project was tested with.

    Args:
        module (str): Name in ``import``.
        package (str): Name in ``pip install``.
        tested (str): The version the tests run with.
        flags (str): Options that ``pip install`` needs. Defaults to none.
        old (tuple[str]): Packages of other names that bring the same module in a version that does not work.
    """

    module: str
    package: str
    tested: str
    flags: str = ''
    old: tuple = ()

    @property
    def command(self) -> str:
        return ' '.join(filter(None, ('pip install', self.flags, f'{self.package}=={self.tested}')))


# mmcv's build needs the torch that is already there; in an isolated build it finds none and leaves the ops out.
_BUILD = '--no-build-isolation'
REQUIREMENTS = (
    Requirement('torch', 'torch', '2.13.0'),
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
    """Whether mmcv was built with its ops (without importing them)."""
    return importlib.util.find_spec('mmcv._ext') is not None


def _line(version: str) -> list[str]:
    """The release line: ``2.3.6`` -> 2; while the major version is 0 the minor one counts, too."""
    parts = version.split('+')[0].split('.')
    return parts[:2] if parts[0] == '0' else parts[:1]


def check_packages(
    version_of: Callable[[str], str | None] = installed_version,
    has_ops: Callable[[], bool] = has_compiled_ops,
) -> None:
    """Compare what is installed with what was tested.

    Args:
        version_of (Callable): Distribution name -> version or None. Defaults to :func:`installed_version`.
        has_ops (Callable): Tells whether mmcv has its compiled ops. Defaults to :func:`has_compiled_ops`.

    Raises:
        ImportError: A package is missing, comes from another release line, or is the one that the onedl-* package
            replaces; the message has the command that mends it. Other versions of the tested line give one warning.
    """
    other = []
    for need in REQUIREMENTS:
        found = version_of(need.package)
        for name in need.old:
            old = version_of(name)
            if old is None:
                continue
            both = f'{name} {need.package}' if found else name
            raise ImportError(
                f"Found {name} {old}; kd_methods needs {need.package} {need.tested}, which brings the same module "
                f"'{need.module}', so the two overwrite each other. "
                f'Run: pip uninstall -y {both} && {need.command}'
            )
        if found is None:
            raise ImportError(
                f"{need.package} (module '{need.module}') is not installed; kd_methods needs version {need.tested}. "
                f'Run: {need.command}'
            )
        if _line(found) != _line(need.tested):
            raise ImportError(
                f'Found {need.package} {found}; kd_methods needs {need.tested} (tested) or another '
                f'{".".join(_line(need.tested))}.x. Run: {need.command}'
            )
        if found.split('+')[0] != need.tested:
            other.append(f'{need.package} {found} (tested: {need.tested})')
    if not has_ops():
        mmcv = next(need for need in REQUIREMENTS if need.module == 'mmcv')
        raise ImportError(
            f'Found {mmcv.package} {version_of(mmcv.package)} without its compiled ops (mmcv._ext); kd_methods needs '
            'them. pip leaves them out without a word when it builds in isolation, where it finds no torch. With gcc '
            'and torch installed, '
            f'run: {mmcv.command.replace("install", "install --force-reinstall --no-deps --no-cache-dir", 1)}'
        )
    if other:
        warnings.warn(f'kd_methods was tested with other versions: {", ".join(other)}.', stacklevel=2)


# ---------------------------------------------------------------- mmengine


def cure_package_names() -> None:
    """Make ``mmseg::`` and ``mmdet::`` config paths find the installed packages.

    mmengine looks ``mmseg`` up as the distribution ``mmsegmentation`` and, not finding it, pip-installs it over
    ``onedl-mmsegmentation``, which destroys the environment.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.update(mmseg='onedl-mmsegmentation', mmdet='onedl-mmdetection')


def quiet_onedl() -> None:
    """Drop the lines that mmseg.datasets and mmdet.datasets print when OneDL's own data client is not installed.

    Both import ``print_log`` at the moment they use it, so replacing it works for the lazy import in a running
    training, too.
    """
    import mmengine.logging

    original = mmengine.logging.print_log
    if getattr(original, 'drops_onedl', False):
        return

    def print_log(msg, *args, **kwargs):
        if not str(msg).startswith('Could not import OneDL'):
            original(msg, *args, **kwargs)

    print_log.__doc__ = original.__doc__
    print_log.drops_onedl = True
    mmengine.logging.print_log = print_log


# ---------------------------------------------------------------- mmrazor

# Packages whose own __init__ would import quantisation, pruning and NAS, which need parts of torch that are gone:
# of each __init__ only the lines that import from the modules named here are run. In the order of their dependencies;
# packages not named here (losses, recorder, connectors, ...) are imported as they are.
KEPT = {
    'mmrazor': ('version',),
    'mmrazor.models.utils': ('make_divisible', 'misc', 'optim_wrapper', 'parse_values', 'utils'),
    'mmrazor.models.task_modules': ('delivery', 'recorder'),
    'mmrazor.models.architectures.ops': ('common', 'darts_series', 'gather_tensors'),
    'mmrazor.models.architectures': ('connectors', 'generators', 'ops'),
    'mmrazor.models.algorithms': ('base', 'distill'),
    'mmrazor.models': ('algorithms', 'architectures', 'distillers', 'losses', 'task_modules', 'utils'),
    'mmrazor.engine.hooks': ('stop_distillation_hook', 'visualization_hook'),
    'mmrazor.engine.runner': ('distill_val_loop',),
    'mmrazor.engine': ('hooks', 'optimizers', 'runner'),
}


def _left_out(package: str) -> Callable[[str], None]:
    """``__getattr__`` for a package of :data:`KEPT`."""

    def __getattr__(name):
        text = (
            f'{package}.{name} is not available: kd_methods imports only the distillation part of MMRazor '
            '(algorithms, distillers, recorders, deliveries, connectors, losses, StopDistillHook, the distillation '
            "loops); its pruning, quantisation and NAS do not run with today's torch."
        )
        # `from package import name` drops the text of an AttributeError, so it gets an ImportError; every other
        # reader (hasattr, pickle, which looks through all modules) needs the AttributeError. Submodules are
        # imported after the AttributeError.
        by_import = sys._getframe(1).f_code.co_name == '_handle_fromlist'
        submodule = not name.startswith('_') and importlib.util.find_spec(f'{package}.{name}') is not None
        if by_import and not submodule and not name.startswith('_'):
            raise ImportError(text)
        raise AttributeError(text)

    return __getattr__


def _bare_package(name: str, init: Path) -> types.ModuleType:
    """A package that can import its submodules, without having run its ``__init__``."""
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(init.parent)])
    module = importlib.util.module_from_spec(spec)
    module.__getattr__ = _left_out(name)
    sys.modules[name] = module
    parent, _, child = name.rpartition('.')
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _fill(module: types.ModuleType, kept: tuple) -> None:
    """Give a bare package the names that its ``__init__`` imports from the kept modules."""
    tree = ast.parse(Path(module.__file__).read_text(encoding='utf-8'))
    for node in tree.body:
        if not (isinstance(node, ast.ImportFrom) and node.level == 1 and node.module in kept):
            continue
        part = importlib.import_module(f'{module.__name__}.{node.module}')
        names = [alias.name for alias in node.names]
        if names == ['*']:
            names = part.__all__
        elif part.__name__ in KEPT:  # it has a part of its names, too
            names = [name for name in names if name in vars(part)]
        for name in names:
            setattr(module, name, getattr(part, name))
    module.__all__ = sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith('_') and not isinstance(value, types.ModuleType)
    )


def import_mmrazor() -> None:
    """Import MMRazor's distillation part under its own names.

    Packages of it that are already imported (somebody got them to work) are left as they are.
    """
    root = Path(importlib.util.find_spec('mmrazor').origin).parent
    bare = {}
    for name in sorted(KEPT):  # a parent before its children
        if name not in sys.modules:
            init = root.joinpath(*name.split('.')[1:], '__init__.py')
            bare[name] = _bare_package(name, init)

    import mmrazor.registry
    from mmengine.registry import Registry
    from mmengine.utils import digit_version

    if 'mmrazor' in bare:
        bare['mmrazor'].digit_version = digit_version
    for registry in vars(mmrazor.registry).values():
        if isinstance(registry, Registry) and registry.scope == 'mmrazor':
            registry._imported = True  # else the first look-up imports all of mmrazor
    for name, kept in KEPT.items():
        if name in bare:
            _fill(bare[name], kept)


# ---------------------------------------------------------------- checkpoints


def _history_method(owner: type, name: str) -> Callable:
    """Stands for ``getattr`` in a checkpoint, where mmengine uses it for the methods of its HistoryBuffer only."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')
    return getattr(owner, name)


def safe_globals() -> list:
    """What ``torch.load(weights_only=True)`` must allow for checkpoints written by OpenMMLab's runner.

    Their message hub holds HistoryBuffer and numpy values. Nothing in the list runs code that a file brings along:
    ``getattr``, which mmengine's own list allows, is replaced by a function that knows four names.

    Returns:
        list: For ``torch.serialization.safe_globals``.
    """
    import numpy as np
    from mmengine.config import Config, ConfigDict
    from mmengine.logging import HistoryBuffer

    functions = {'_reconstruct': np.zeros(1).__reduce__()[0], 'scalar': np.float64(0).__reduce__()[0]}
    return [
        HistoryBuffer,
        (_history_method, 'builtins.getattr'),
        ConfigDict,
        Config,
        slice,
        bytes,  # of an empty array
        np.ndarray,
        np.dtype,
        *(type(np.dtype(code)) for code in '?bBhHiIlLqQefdgFDSU'),
        # numpy 2 renamed the package; a file has the name of the numpy that wrote it
        *((function, f'numpy.{core}.multiarray.{name}') for core in ('core', '_core') for name, function in functions.items()),
    ]


# ---------------------------------------------------------------- set-up

_done = False


def setup() -> None:
    """Check the packages and make them usable; later calls do nothing."""
    global _done
    if _done:
        return
    check_packages()
    cure_package_names()
    quiet_onedl()
    import_mmrazor()
    _done = True
