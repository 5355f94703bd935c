"""The import of MMRazor's distillation part alone.

``import mmrazor`` refuses today's mmcv, and ``import mmrazor.models`` imports quantisation, pruning
and NAS, which need parts of torch that are gone. Here the packages that do so get a module that has
not run its ``__init__``, and only the names that the ``__init__`` takes from the working parts.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

#: Package -> those of its modules whose names it gets, in the order of their dependencies. Others (losses,
#: recorder, connectors, ...) are imported as they are.
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

#: Importing these fails somewhere deep, with a message about something else.
BROKEN = (
    'mmrazor.implementations',
    'mmrazor.models.algorithms.nas',
    'mmrazor.models.algorithms.pruning',
    'mmrazor.models.algorithms.quantization',
    'mmrazor.models.mutables',
    'mmrazor.models.mutators',
    'mmrazor.models.quantizers',
    'mmrazor.structures',
)

#: What MMRazor imports at its top for a picture and for one kind of distiller: three seconds of each start.
LATER = ('matplotlib.pyplot', 'scipy.stats')


def import_mmrazor() -> None:
    """Import MMRazor's distillation part under its own names.

    Packages that are imported already (because somebody made them work) stay as they are.
    """
    root = Path(importlib.util.find_spec('mmrazor').origin).parent
    bare = {}
    for name in sorted(KEPT):  # a parent before its children
        if name not in sys.modules:
            init = root.joinpath(*name.split('.')[1:], '__init__.py')
            bare[name] = _bare_package(name, init)
    if 'mmrazor.models' in bare:
        sys.meta_path.insert(0, _BrokenFinder)

    import mmengine
    import mmrazor.registry
    import mmrazor.utils

    if 'mmrazor' in bare:
        mmrazor.digit_version = mmengine.digit_version
    if 'mmrazor.models' in bare:
        mmrazor.utils.register_all_modules = _register_all_modules
    for registry in vars(mmrazor.registry).values():
        if isinstance(registry, mmengine.Registry) and registry.scope == 'mmrazor':
            registry._imported = True  # else its first look-up imports all of mmrazor
    with _imported_later():
        for name, kept in KEPT.items():
            if name in bare:
                _fill(bare[name], kept)
    _mend_soft_cross_entropy()
    _mend_fbkd_connectors()
    _mend_inplace()


def _bare_package(name: str, init: Path) -> ModuleType:
    """A package that can import its modules, without having run its ``__init__``."""
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(init.parent)])
    package = importlib.util.module_from_spec(spec)
    package.__getattr__ = _explain_missing(name)
    sys.modules[name] = package
    parent, _, child = name.rpartition('.')
    if parent:
        setattr(sys.modules[parent], child, package)
    return package


def _fill(package: ModuleType, kept: tuple) -> None:
    """Give a bare package the names that its ``__init__`` imports from the kept modules."""
    tree = ast.parse(Path(package.__file__).read_text(encoding='utf-8'))
    for node in tree.body:
        if not (isinstance(node, ast.ImportFrom) and node.level == 1 and node.module in kept):
            continue
        part = importlib.import_module(f'{package.__name__}.{node.module}')
        names = [alias.name for alias in node.names]
        if names == ['*']:
            names = getattr(part, '__all__', None) or _public_names(part)
        elif part.__name__ in KEPT:  # that is not complete either
            names = [name for name in names if name in vars(part)]
        for name in names:
            setattr(package, name, getattr(part, name))
    package.__all__ = _public_names(package)


def _public_names(package: ModuleType) -> list[str]:
    found = vars(package).items()
    return sorted(n for n, value in found if not n.startswith('_') and not isinstance(value, ModuleType))


# ---------------------------------------------------------------- what is imported when it is used


class _Later(ModuleType):
    """Stands for a module that is not imported yet: its attributes are imported when they are used."""

    def __getattr__(self, name: str) -> '_LaterAttribute':
        if name.startswith('__'):
            raise AttributeError(name)
        return _LaterAttribute(self.__name__, name)


class _LaterAttribute:
    """A function, or an object with methods, of a module that is imported at its first use."""

    def __init__(self, module: str, name: str) -> None:
        self._found = lambda: getattr(importlib.import_module(module), name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)


@contextmanager
def _imported_later() -> Iterator[None]:
    """While MMRazor is imported, the modules of :data:`LATER` are stand-ins."""
    names = [name for module in LATER for name in (module.partition('.')[0], module)]
    stand_ins = {name: _Later(name) for name in names if name not in sys.modules}
    for name, module in stand_ins.items():
        sys.modules[name] = module
        parent, _, child = name.partition('.')
        if child and parent in stand_ins:
            setattr(stand_ins[parent], child, module)
    try:
        yield
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


# ---------------------------------------------------------------- what is left out


def _sentence(name: str) -> str:
    return (
        f'{name} is not available: kd_methods imports only the distillation part of MMRazor (algorithms, '
        'distillers, recorders, deliveries, connectors, losses, hooks and loops); its pruning, '
        "quantisation and NAS do not run with today's torch and mmcv."
    )


def _explain_missing(package: str) -> Callable[[str], None]:
    """``__getattr__`` of a bare package."""

    def __getattr__(name: str) -> None:
        full = f'{package}.{name}'
        # `from package import name` drops the text of an AttributeError, so it gets an ImportError (not for
        # modules, which are imported after it). hasattr and pickle expect an AttributeError.
        importing = sys._getframe(1).f_code.co_name == '_handle_fromlist'
        if importing and not name.startswith('_') and importlib.util.find_spec(full) is None:
            raise ImportError(_sentence(full))
        raise AttributeError(_sentence(full))

    return __getattr__


class _BrokenFinder:
    """Refuses :data:`BROKEN` with a sentence; leaves all other modules to the finders after it."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> None:
        if name in BROKEN:
            raise ModuleNotFoundError(_sentence(name), name=name)


# ---------------------------------------------------------------- what is replaced


def _register_all_modules(init_default_scope: bool = True) -> None:
    """Stands for MMRazor's function, which imports everything; all there is is registered here."""
    from mmengine.registry import DefaultScope

    scope = DefaultScope.get_current_instance()
    if init_default_scope and (scope is None or scope.scope_name != 'mmrazor'):
        DefaultScope.get_instance(f'mmrazor-{datetime.now()}', scope_name='mmrazor')


def _mend_soft_cross_entropy() -> None:
    """KDSoftCELoss takes one function from mmcls; without mmcls it can be built but not called."""
    from mmrazor.models.losses import kd_soft_ce_loss

    if isinstance(kd_soft_ce_loss.soft_cross_entropy, type):  # the placeholder, a class
        kd_soft_ce_loss.soft_cross_entropy = _soft_cross_entropy


def _mend_fbkd_connectors() -> None:
    """Their non-local blocks initialise themselves, then wrap their layers: no second time is possible."""
    from mmrazor.models.architectures.connectors.fbkd_connector import NonLocal2dMaxpoolNstride as block
    from torch.nn import Sequential

    original = block.init_weights

    def init_weights(self, *args, **kwargs) -> None:
        if not isinstance(self.g, Sequential):
            original(self, *args, **kwargs)

    block.init_weights = init_weights


def _mend_inplace() -> None:
    """Its search for in-place layers asks for an ``OrderedDict`` of children, which torch from 2.13 on does
    not have: a recorded map was then changed by the in-place ReLU behind it.
    """
    from mmrazor.models.algorithms.base import BaseAlgorithm

    def set_module_inplace_false(self, architecture, varstr='') -> None:
        for module in architecture.modules():
            if hasattr(module, 'inplace'):
                module.inplace = False

    BaseAlgorithm.set_module_inplace_false = set_module_inplace_false


def _soft_cross_entropy(pred, label, weight=None, reduction='mean', avg_factor=None):
    """Cross entropy with class probabilities as the target: pred, label (N, C), weight (N,)."""
    loss = -(label * pred.log_softmax(dim=-1)).sum(dim=-1)
    if weight is not None:
        loss = loss * weight
    if reduction == 'mean':
        return loss.mean() if avg_factor is None else loss.sum() / avg_factor
    return loss.sum() if reduction == 'sum' else loss
