"""From a config entry to a network: where configs are found, how overrides are merged, what is built.

A network is named in a config in one of three ways:

- ``dict(cfg_path='configs/baselines/pspnet_r18_scenes.py')``: the ``model`` of a config of this tree or of
  the user's own;
- ``dict(cfg_path='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py')``: of an installed package;
- a full model dict, or a built model.

Other keys than ``cfg_path`` are merged deeply into that ``model``.
"""

import copy
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModel, ImgDataPreprocessor, revert_sync_batchnorm
from mmengine.registry import MODELS, TASK_UTILS, DefaultScope

from kd_methods.compat.family import check_installed, naming_imports
from kd_methods.utils.errors import naming
from kd_methods.utils.options import NonNegative, Option
from kd_methods.utils.parts import check_kinds, find_type, walk
from kd_methods.utils.paths import REPO_ROOT
from kd_methods.utils.text import constructor_arguments, did_you_mean

#: Keys about the look-up; all others are about the model.
_LOOKUP_KEYS = ('cfg_path', 'pretrained', 'downloads')


def load_config(path: str | Path, key: str = 'cfg_path') -> Config:
    """Read a config of this tree, of the user, or of a package.

    Args:
        path (str | Path): ``'mmseg::...'`` / ``'mmdet::...'`` for a package's config; else a file, looked up
            from the working directory first, then from the root of this repository.
        key (str): Config key that holds ``path``, for messages. Defaults to ``'cfg_path'``.

    Raises:
        FileNotFoundError: There is no such config; the message lists the nearest names.
        ValueError: It needs a package that is not installed, or imports what cannot be imported.
    """
    with naming_imports(key, str(path)):
        return _load_config(str(path), key)


def _load_config(path: str, key: str) -> Config:
    if '::' in path:
        from mmengine.hub import get_config

        try:
            return get_config(path)
        except FileNotFoundError as error:
            renamed = _renamed_in_package(path)
            if renamed is not None:
                print_log(f'{key}: {path!r} is now called {renamed!r}', logger='current')
                return get_config(renamed)
            package, name = path.split('::', 1)
            raise FileNotFoundError(
                f'{key}: the package {package!r} has no config {name!r}: {error}'
            ) from error
    candidates = [Path(path).expanduser(), REPO_ROOT / path]
    for candidate in candidates:
        if candidate.is_file():
            return Config.fromfile(str(candidate))
    folders = [c.parent for c in candidates if c.parent.is_dir()]
    names = sorted({f.name for folder in folders for f in folder.glob('*.py')})
    hint = did_you_mean(Path(path).name, names)
    places = ' and '.join(dict.fromkeys(map(str, (Path.cwd(), REPO_ROOT))))
    raise FileNotFoundError(f'{key}: no config file {path!r} (looked in {places}).{hint}')


def resolve_model_cfg(cfg: dict, key: str = 'architecture') -> ConfigDict:
    """Turn a network entry of a config into one full model dict.

    Args:
        cfg (dict): ``dict(cfg_path=..., **overrides)`` or a full model dict (which is copied). Overrides:

            - ``pretrained`` (bool): ``True`` starts from the package's own published checkpoint of that
              config (``pkg::`` paths only). Defaults to False.
            - ``downloads`` (bool): ``False`` clears every ``init_cfg`` and ``pretrained`` that would read
              weights from a file or URL. Defaults to True.
            - any key of the model: merged deeply, with ``_delete_=True`` to replace instead of merge.
        key (str): Config key of this entry, for messages. Defaults to ``'architecture'``.

    Returns:
        ConfigDict: The full model dict; ``_scope_`` says in which package its types are looked up.

    Raises:
        KeyError: An override names a key that the model's class does not take.
        TypeError: The entry is no dict, or an override is of another kind than what it overrides.
        ValueError: ``pretrained=True`` for a config that has no published checkpoint.
    """
    if not isinstance(cfg, dict):
        kinds = 'a dict (cfg_path=... or a full model dict)'
        raise TypeError(f'{key}: expected {kinds}, got {type(cfg).__name__}: {cfg!r}')
    cfg = ConfigDict(copy.deepcopy(dict(cfg)))
    if 'cfg_path' not in cfg:
        if 'type' not in cfg:
            cure = f"Give {key}=dict(cfg_path='...config.py') or a full model dict."
            raise KeyError(f"{key}: neither 'cfg_path' nor 'type' among its keys {sorted(cfg)}. {cure}")
        return cfg
    path = cfg['cfg_path']
    source = load_config(path, key=f'{key}.cfg_path')
    if 'model' not in source:
        raise ValueError(f'{key}.cfg_path: {path!r} has no `model`; it holds {sorted(source.keys())}.')
    if is_distillation(source):
        what = 'is itself a distillation config; name the config of a plain model.'
        raise ValueError(f'{key}.cfg_path: {path!r} {what}')
    model = ConfigDict(copy.deepcopy(source.model.to_dict()))
    if model.get('_scope_') is None and source.get('default_scope') is not None:
        model['_scope_'] = source.default_scope
    if source.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', source.data_preprocessor)  # mmengine's Runner does so
    overrides = {k: v for k, v in cfg.items() if k not in _LOOKUP_KEYS}
    _check_overrides(overrides, model, key, model.get('_scope_'))
    try:
        model = ConfigDict(Config._merge_a_into_b(overrides, model))  # mmengine's own merge of _base_
    except TypeError as error:
        what = f'the overrides {sorted(overrides)} into the model of {path!r}'
        raise TypeError(f'{key}: cannot merge {what}: {error}') from error
    if cfg.get('pretrained'):
        model['init_cfg'] = dict(type='Pretrained', checkpoint=_published_checkpoint(path, key))
    if not cfg.get('downloads', True):
        clear_pretrained(model)
    return model


def build_network(cfg: dict | BaseModel, key: str = 'architecture') -> BaseModel:
    """Build the network of a config entry (see :func:`resolve_model_cfg`); a built one passes through.

    Without CUDA, SyncBN becomes BN, since SyncBN cannot train on the CPU.
    """
    if isinstance(cfg, BaseModel):
        return cfg
    if isinstance(cfg, torch.nn.Module):
        why = 'wrap it in a BaseModel, or give its config.'
        raise TypeError(f'{key}: expected a dict or a mmengine BaseModel, got {type(cfg).__name__}: {why}')
    cfg = resolve_model_cfg(cfg, key)
    check_network_values(cfg, key)
    with naming(key, cfg):
        network = MODELS.build(cfg)
    if not isinstance(network, BaseModel):
        kind = 'a mmengine BaseModel (a whole segmentor or detector)'
        raise TypeError(f'{key}: {type(network).__name__} is not {kind}.')
    return network if torch.cuda.is_available() else revert_sync_batchnorm(network)


def check_network_values(cfg: Any, key: str) -> None:
    """Raise if an argument in a network's config is of another kind than its class takes.

    Names of types and arguments are told when the network is built, since it may read them in its own way.

    Raises:
        TypeError: It is of another kind.
        ValueError: A ``loss_weight`` is negative, or no finite number; a type is of a package that is not
            installed.
    """
    check_installed(cfg, key)
    for name in ('train_cfg', 'test_cfg'):
        if not isinstance(cfg.get(name), (dict, NoneType)):
            raise TypeError(f'{key}.{name} must be a dict. Got: {cfg[name]!r}')
    for where, part in walk(cfg, key):
        if not isinstance(part, dict):
            continue
        if isinstance(part.get('type'), (str, type)):
            options = {name: value for name, value in part.items() if name != 'type'}
            check_kinds(where, options, find_type(where, part, MODELS, TASK_UTILS))
        if where.endswith('data_preprocessor'):
            _check_statistics(where, part)
        for name in ('num_classes', 'channels', 'in_channels', 'out_channels'):
            if isinstance(part.get(name), (str, bool)):
                raise TypeError(f'{where}.{name} must be a whole number. Got: {part[name]!r}')
        if isinstance(part.get('ratios'), (int, float, str)):  # torch.Tensor(5) are five numbers
            raise TypeError(f'{where}.ratios must be a list. Got: {part["ratios"]!r}')
        if isinstance(part.get('loss_weight'), (int, float)):
            Option.read(NonNegative).check(where, 'loss_weight', part['loss_weight'])


def _check_statistics(key: str, cfg: Mapping) -> None:
    """Refuse statistics of other images than of one channel or three, where the class takes no others."""
    cls = find_type(key, cfg, MODELS)
    if not isinstance(cls, type) or not issubclass(cls, ImgDataPreprocessor):
        return
    counts = [len(cfg[name]) if hasattr(cfg.get(name), '__len__') else None for name in ('mean', 'std')]
    given = [count for count in counts if count is not None]
    if cls.__module__.startswith(('mmengine.', 'mmseg.', 'mmdet.')) and (
        len(given) == 1 or not {1, 3}.issuperset(given)
    ):
        got = f'mean={cfg.get("mean")}, std={cfg.get("std")}'
        cure = "For RGB and X (depth, infrared, ...), segmentors have type='RGBXDataPreProcessor'"
        what = f'{cls.__name__} takes mean and std of images of 1 channel or 3. Got: {got}'
        raise ValueError(f'{key}: {what}. {cure}; see docs/rgbx.md.')


def is_distillation(cfg: Config) -> bool:
    """Whether a config trains a student with a teacher (as opposed to a plain model)."""
    model = cfg.get('model') or {}
    return isinstance(model, dict) and 'architecture' in model and 'distiller' in model


def reads_weights(init: Any) -> bool:
    """Whether an entry of an ``init_cfg`` reads weights: also without a type, as in mmdet's transformers."""
    return isinstance(init, dict) and (init.get('type') == 'Pretrained' or 'checkpoint' in init)


def clear_pretrained(model: Any) -> None:
    """Remove, in place, every ``init_cfg`` / ``pretrained`` that would read weights from a file or URL."""
    if isinstance(model, (list, tuple)):
        for entry in model:
            clear_pretrained(entry)
    if not isinstance(model, dict):
        return
    for name, value in model.items():
        if name == 'init_cfg':
            entries = value if isinstance(value, (list, tuple)) else [value]
            if any(map(reads_weights, entries)):
                model[name] = [entry for entry in entries if not reads_weights(entry)] or None
        elif name == 'pretrained' and isinstance(value, str):
            model[name] = None
        else:
            clear_pretrained(value)


def _renamed_in_package(path: str) -> str | None:
    """A package's config under its present name: mmdet 3 and mmseg 1 turned some underscores into dashes."""
    package, _, relative = path.partition('::')
    root = Path(importlib.import_module(package).__file__).parent
    folder = root / '.mim' / 'configs' / Path(relative).parent
    plain = Path(relative).name.replace('-', '_')
    matches = [f.name for f in folder.glob('*.py') if f.name.replace('-', '_') == plain]
    return f'{package}::{Path(relative).with_name(matches[0]).as_posix()}' if matches else None


def _published_checkpoint(path: str, key: str) -> str:
    if '::' not in path:
        what = f"only configs of a package ('mmseg::...') have a published checkpoint; {path!r} is a file"
        instead = f"Set {key}.init_cfg=dict(type='Pretrained', checkpoint=...) instead."
        raise ValueError(f'{key}.pretrained: {what}. {instead}')
    from mmengine.hub import get_config

    try:
        return get_config(path, pretrained=True).model_path
    except (AssertionError, AttributeError) as error:
        cure = f"leave it out or name one with {key}.init_cfg=dict(type='Pretrained', checkpoint=...)."
        raise ValueError(f'{key}.pretrained: the package lists no checkpoint for {path!r}; {cure}') from error


def _check_overrides(overrides: dict, base: dict, key: str, scope: str | None) -> None:
    """Refuse override keys that neither the base dict has nor its class takes."""
    accepted: set[str] | None = None
    for name, value in overrides.items():
        where = f'{key}.{name}'
        if name in base:
            if isinstance(value, dict) and isinstance(base[name], dict) and not value.get('_delete_'):
                _check_overrides(value, base[name], where, scope)
            continue
        if name in ('type', '_scope_', '_delete_'):
            continue
        if accepted is None:
            accepted = _constructor_keys(overrides.get('type', base.get('type')), scope)
        if accepted and name not in accepted:
            known: list[str] = sorted(accepted | set(base))
            hint = did_you_mean(name, known) or f' It takes {known}.'
            raise KeyError(f'{where}: {base.get("type")} takes no {name!r}.{hint}')


def _constructor_keys(type_: Any, scope: str | None) -> set[str]:
    """Names that a registered class takes, through its bases; empty if that cannot be told."""
    try:
        if isinstance(type_, str):
            current = DefaultScope.get_current_instance()
            with MODELS.switch_scope_and_registry(scope or current and current.scope_name) as registry:
                type_ = registry.get(type_)
        names, complete = constructor_arguments(type_)
        return set(names) if complete else set()
    except Exception:  # a type from elsewhere: its constructor will say what it does not take
        return set()
