"""The config of a trained student as stock mmseg / mmdet read it: merged, without types of this package."""

import inspect
import logging
from functools import partial
from typing import Any

import mmengine.registry
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, Registry

from kd_methods.datasets.entries import map_datasets, with_pipeline
from kd_methods.export.student_config import imported_modules, student_config
from kd_methods.networks.config import clear_pretrained

#: Top-level keys of a config that matter for a trained model; the rest is about training.
KEPT_KEYS = ('default_scope', 'custom_imports', 'model', 'test_pipeline', 'test_dataloader', 'test_cfg')
KEPT_KEYS += ('test_evaluator', 'tta_pipeline', 'tta_model', 'default_hooks', 'env_cfg', 'vis_backends')
KEPT_KEYS += ('visualizer', 'log_processor', 'log_level')


class NotPlain(TypeError):
    """A value that cannot be written with plain Python types."""


def to_plain(value: Any) -> Any:
    """Turn arrays, tensors, numpy scalars and config dicts into plain Python values.

    Raises:
        NotPlain: There is no plain form of the value.
    """
    if isinstance(value, dict):
        return {to_plain(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value] if isinstance(value, list) else tuple(to_plain(v) for v in value)
    if isinstance(value, (np.ndarray, np.generic)):
        return to_plain(value.tolist())
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().tolist()
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise NotPlain(f'{type(value).__name__} {value!r}')


def plain_metainfo(metainfo: dict | None) -> dict:
    """The entries of a dataset's meta information that have a plain form, classes and palette as
    lists."""
    plain = {}
    for key, value in (metainfo or {}).items():
        try:
            plain[key] = to_plain(value)
        except NotPlain:
            continue
    for key in ('classes', 'palette'):
        if isinstance(plain.get(key), tuple):
            plain[key] = list(plain[key])
    return plain


def plain_config(cfg: Config) -> Config:
    """The config with which stock mmseg / mmdet build, run and test the student of ``cfg``.

    ``model`` is the student's full dict and nothing in it reads weights from elsewhere; of the
    rest, only what a trained model needs is kept (:data:`KEPT_KEYS`). Data sets of this package
    become the stock data set they derive from, with the same classes, palette and file names.

    A student that is itself made of types of this package (an RGB-X segmentor, say) cannot do without it:
    then the config imports it with ``custom_imports``, and the log says which types these are.

    Args:
        cfg (Config): A distillation config or a plain one.
    """
    source = student_config(cfg)
    if source.get('model') is None:
        raise ValueError(f'The config has no `model`; it holds {sorted(source.keys())}.')
    ours = _own_types()
    plain = {k: _names_for_classes(source[k]) for k in KEPT_KEYS if source.get(k) is not None}
    if 'test_dataloader' not in plain and source.get('val_dataloader') is not None:
        for part in ('dataloader', 'cfg', 'evaluator'):
            if source.get(f'val_{part}') is not None:
                plain[f'test_{part}'] = _names_for_classes(source[f'val_{part}'])
        if str(plain.get('test_cfg', {}).get('type', 'ValLoop')) == 'ValLoop':
            plain['test_cfg'] = dict(type='TestLoop')
    clear_pretrained(plain['model'])
    # The others are about training; mmseg's and mmdet's test.py --show want this one.
    hooks = plain.pop('default_hooks', {})
    if hooks.get('visualization'):
        plain['default_hooks'] = dict(visualization=hooks['visualization'])
    lenient = bool(plain.pop('custom_imports', {}).get('allow_failed_imports'))
    imports = [m for m in imported_modules(source) if m.split('.')[0] != 'kd_methods']
    if 'test_dataloader' in plain:
        replace = partial(_stock_or_given, ours=ours)
        dataset = map_datasets(plain['test_dataloader'].get('dataset'), replace)
        if dataset is not None:
            plain['test_dataloader']['dataset'] = dataset
            pipeline = with_pipeline(dataset).get('pipeline')
            if pipeline:  # what the run tested with, even where --cfg-options changed it
                plain['test_pipeline'] = pipeline
    if 'test_evaluator' in plain:
        plain['test_evaluator'] = _stock_metrics(plain['test_evaluator'], ours)
    left = sorted(_types_in(plain) & ours)
    if left:
        imports.append('kd_methods')
        why = f'because it uses {", ".join(left)}.'
        print_log(f'The exported config needs kd_methods to be installed, {why}', 'current', logging.WARNING)
    if imports:
        plain['custom_imports'] = dict(imports=imports, allow_failed_imports=lenient)
    return Config(plain)


def _own_types() -> set[str]:
    """Names that this package has registered in mmengine's root registries."""
    registries = [r for r in vars(mmengine.registry).values() if isinstance(r, Registry)]
    return {name for r in registries for name, cls in r.module_dict.items() if _is_ours(cls)}


def _is_ours(cls: Any) -> bool:
    return getattr(cls, '__module__', '').split('.')[0] == 'kd_methods'


def _names_for_classes(node: Any) -> Any:
    """A deep copy with plain dicts; a type given as a class (Python-style configs) becomes its name."""
    if isinstance(node, dict):
        return {k: _names_for_classes(v) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_names_for_classes(v) for v in node)
    if inspect.isclass(node) or inspect.isfunction(node):
        return node.__name__ if _is_ours(node) else f'{node.__module__}.{node.__name__}'
    if isinstance(node, (np.ndarray, np.generic)):
        return node.tolist()
    return node


def _types_in(node: Any) -> set[str]:
    """All strings under the keys ``type`` and ``*_type``, at any depth."""
    found = set()
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and str(key).endswith('type'):
                found.add(value.split('.')[-1])
            else:
                found |= _types_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            found |= _types_in(value)
    return found


def _stock_or_given(cfg: dict, ours: set[str]) -> dict:
    """The stock data set for one of this package, where there is one."""
    if cfg.get('type') in ours and not _types_in(cfg.get('pipeline')) & ours:
        return stock_dataset(cfg) or cfg
    return cfg


def _stock_metrics(evaluator: Any, ours: set[str]) -> Any:
    """Leave out this package's metrics (they are for segmentation); where nothing is left, mIoU stands in."""
    given = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    kept = [e for e in given if not (isinstance(e, dict) and str(e.get('type')).split('.')[-1] in ours)]
    if given and not kept:
        return dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=given[0].get('ignore_index', 255))
    return kept if isinstance(evaluator, (list, tuple)) else evaluator


def stock_dataset(cfg: dict) -> dict | None:
    """The stock data set that reads the same files as one of this package.

    That is its nearest base class from elsewhere, with this class's defaults and meta information. None where
    that lacks an argument of the config, or a part of the classes was selected (which needs all names).
    """
    cls = DATASETS.get(cfg['type'])
    lineage = inspect.getmro(cls)
    base = next(c for c in lineage if not _is_ours(c))
    if base is object:
        return None
    own = dict(getattr(cls, 'METAINFO', {}))
    metainfo = {**own, **(cfg.get('metainfo') or {})}
    if list(metainfo.get('classes', ())) != list(own.get('classes', ())):
        return None
    taken = _arguments(base)
    stock = dict(type=base.__name__, metainfo=plain_metainfo(metainfo))
    for name, value in cfg.items():
        if name in ('type', 'metainfo'):
            continue
        if name not in taken and name != '_scope_':
            return None
        stock[name] = value
    for own_class in lineage[: lineage.index(base)]:
        for name, default in _arguments(own_class, own=True).items():
            if name in taken and default is not inspect.Parameter.empty:
                stock.setdefault(name, default)
    for name in ('img_suffix', 'seg_map_suffix', 'reduce_zero_label', 'ignore_index'):
        if name in taken and taken[name] is not inspect.Parameter.empty:
            stock.setdefault(name, taken[name])
    return stock


def _arguments(cls: type, own: bool = False) -> dict[str, Any]:
    """Names and defaults that a constructor takes, through its bases unless ``own``."""
    found: dict[str, Any] = {}
    for c in inspect.getmro(cls)[: 1 if own else None]:
        if '__init__' not in vars(c) or c is object:
            continue
        for p in inspect.signature(c.__init__).parameters.values():
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != 'self':
                found.setdefault(p.name, p.default)
    return found
