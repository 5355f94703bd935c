"""Parts of a config, ``dict(type=..., **arguments)``: types and arguments are checked before they are built.

What an argument may be follows from the signature of the class: annotations and defaults tell flags, numbers,
strings, lists and dicts apart. Where they say nothing, nothing is refused.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from numbers import Number, Real
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from kd_methods.utils.options import Option
from kd_methods.utils.text import constructor_arguments, did_you_mean

if TYPE_CHECKING:
    from mmengine.registry import Registry

#: Whose annotations are right, as all of their configs show; those of other classes are not relied on.
PACKAGES = ('kd_methods', 'mmcv', 'mmdet', 'mmengine', 'mmseg', 'torch')
#: Arguments that take more than their annotation, or their default, says.
LOOSE = {'loss_scale', 'add_extra_convs'}  # of AmpOptimWrapper, of FPN and kin
FLAG, WHOLE, NUMBER, TEXT, LIST, DICT, NONE, OTHER = (
    *('True or False', 'a whole number', 'a number', 'a string', 'a list', 'a dict', 'None', 'an object'),
)
EVERY = {FLAG, WHOLE, NUMBER, TEXT, LIST, DICT, NONE, OTHER}
_KINDS = {
    bool: {FLAG},
    str: {TEXT},
    NoneType: {NONE},
    **dict.fromkeys((int, float, Real, Number), {WHOLE, NUMBER}),
}
_LISTS = (list, tuple, set, frozenset, Sequence)
#: Of a default without annotation: values that are surely wrong.
_UNLIKE = {FLAG: {TEXT, WHOLE, NUMBER}, WHOLE: {TEXT, FLAG}, NUMBER: {TEXT, FLAG}, LIST: {FLAG}, DICT: {TEXT}}
_UNLIKE[TEXT] = {FLAG, WHOLE, NUMBER}


def kind_of(value: Any) -> str:
    """The kind of a value; '' for nan."""
    for kind, types in ((NONE, NoneType), (FLAG, bool), (TEXT, (str, os.PathLike)), (DICT, Mapping)):
        if isinstance(value, types):
            return kind
    if isinstance(value, Real):
        whole = isinstance(value, int) or float(value).is_integer()
        return '' if math.isnan(value) else WHOLE if whole else NUMBER
    return LIST if isinstance(value, (Sequence, Set)) else OTHER


def kinds(annotation: Any, default: Any = inspect.Parameter.empty) -> set[str]:
    """Kinds of values that a parameter takes."""
    if annotation is not inspect.Parameter.empty:
        given = _annotated(annotation)
        return given if default is inspect.Parameter.empty else given | {kind_of(default)}
    return EVERY - _UNLIKE.get(kind_of(default), set()) if default is not inspect.Parameter.empty else EVERY


def _annotated(annotation: Any) -> set[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, Hashable) and annotation in _KINDS:
        return _KINDS[annotation]
    if origin in (Union, UnionType):
        return set().union(*map(_annotated, arguments))
    if origin is Literal:
        return set(map(kind_of, arguments))
    if origin is Annotated:
        return _annotated(arguments[0])
    found = origin or annotation
    if found in _LISTS:
        return {LIST, OTHER}
    if found is Iterable:
        return {LIST, DICT, OTHER}
    # Some packages say dict of what may be a list of dicts.
    return {LIST, DICT, OTHER} if isinstance(found, type) and issubclass(found, Mapping) else EVERY


def walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """All values of a config with their keys, such as ``'train_dataloader.dataset.pipeline.0.type'``."""
    yield key, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from walk(inner, f'{key}.{name}' if key else str(name))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from walk(inner, f'{key}.{i}')


def find_type(key: str, cfg: Any, *registries: Registry) -> Any:
    """The class (or function) that a part is made of; None where no registry has it.

    Args:
        key (str): Config key of the part.
        cfg: The part.
        *registries (Registry): Where its type is looked up, in the scope of the config.

    Raises:
        TypeError: The part is no dict with a type, or the type is neither a name nor a class.
    """
    kind = cfg.get('type') if isinstance(cfg, Mapping) else None
    if not isinstance(cfg, Mapping) or kind is None:
        raise TypeError(f'{key}: expected a dict with a type. Got: {cfg!r}')
    if not isinstance(kind, str):
        if not callable(kind):
            raise TypeError(f'{key}.type must be the name of a class, or a class. Got: {kind!r}')
        return kind
    for registry in registries:
        with registry.switch_scope_and_registry(cfg.get('_scope_')) as scoped:
            try:
                found = scoped.get(kind)
            except Exception:  # a path to a module that cannot be imported
                found = None
        if found is not None:
            return found
    return None


def check_part(
    key: str, cfg: Any, registry: Registry, extra: Sequence[str] = (), bounds: Mapping[str, Any] | None = None
) -> Any:
    """Check the type of a part, and the names and values of its arguments.

    Args:
        key (str): Config key of the part.
        cfg: The part; anything but plain data is taken to be built already.
        registry (Registry): Where its type is looked up.
        extra (Sequence[str]): Arguments that are read by what builds the part. Defaults to ().
        bounds (Mapping[str, Any] | None): Annotations of arguments that say more than those of the class.
            Defaults to None.

    Returns:
        The class, or None for a part that is built already.

    Raises:
        TypeError: It is no dict with a type; an argument is of another kind.
        KeyError: There is no such type, or the class takes no such argument.
        ValueError: An argument is out of bounds.
    """
    if kind_of(cfg) == OTHER:
        return None
    cls = find_type(key, cfg, registry)
    if cls is None:
        names: list[str] = []
        with registry.switch_scope_and_registry(cfg.get('_scope_')) as scope:
            while scope is not None:
                names, scope = names + list(scope.module_dict), scope.parent
        hint = did_you_mean(cfg['type'], names) or ' Is its module imported (custom_imports)?'
        raise KeyError(f'{key}.type: there is no {registry.name} of type {cfg["type"]!r}.{hint}')
    options = {name: value for name, value in cfg.items() if name not in ('type', '_scope_', '_delete_')}
    if isinstance(cls, type):
        names, complete = constructor_arguments(cls)
        for name in options:
            if complete and name not in names and name not in extra:
                hint = did_you_mean(name, names) or f' It takes {sorted({*names, *extra})}.'
                raise KeyError(f'{key}.{name}: {cls.__name__} takes no {name!r}.{hint}')
    for name, annotation in (bounds or {}).items():
        if name in options:
            value = options[name]
            whole = isinstance(value, float) and value.is_integer()  # 4e4 iterations
            Option.read(annotation).check(key, name, int(value) if whole else value)
    check_kinds(key, options, cls)
    return cls


def check_kinds(key: str, options: Mapping[str, Any], cls: Any) -> None:
    """Raise unless each argument is of a kind that the class takes, as far as its signature says.

    Raises:
        TypeError: One is not.
    """
    if not isinstance(cls, type) or cls.__module__.split('.')[0] not in PACKAGES:
        return
    found: dict[str, inspect.Parameter] = {}
    for base in inspect.getmro(cls):
        if '__init__' in vars(base) and base is not object:
            try:
                signature = inspect.signature(base.__init__, eval_str=True)
            except (NameError, TypeError, ValueError):
                continue
            found = {**signature.parameters, **found}
    for name, value in options.items():
        parameter = found.get(name)
        if parameter is None or name in LOOSE:
            continue
        takes = kinds(parameter.annotation, parameter.default)
        annotated = parameter.annotation is not inspect.Parameter.empty
        if annotated and cls.__module__.startswith(('mmcv', 'mmdet', 'mmseg')):
            # Some of these take one number where they say several, or the reverse, and None without Optional.
            models = '.models.' in cls.__module__
            other = (
                {WHOLE, NUMBER}
                if models and LIST in takes
                else {LIST}
                if not models and NUMBER in takes
                else set()
            )
            takes = takes | other | {NONE}
        if kind_of(value) not in takes:
            what = ', '.join(kind for kind in (FLAG, WHOLE, NUMBER, TEXT, LIST, DICT, NONE) if kind in takes)
            raise TypeError(f'{key}.{name} must be {what} ({cls.__name__}). Got: {value!r}')
