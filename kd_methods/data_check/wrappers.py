"""Whether the wrappers around data sets fit what is in them."""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset
from mmengine.registry import DATASETS, TRANSFORMS

from kd_methods.data_check.findings import STOPS, Finding
from kd_methods.data_check.pipeline import build_without_pipeline
from kd_methods.datasets.entries import Entry, as_list, kind_of, owners, resolve, steps_in

#: How each package's MultiImageMixDataset asks a transform which other images it mixes.
_ASKED = dict(mmseg='get_indices', mmdet='get_indexes')
_PLAIN = ('mmengine', *_ASKED)
_MIXER = 'MultiImageMixDataset'


def judge_wrappers(cfg: Config, split: str) -> list[Finding]:
    """Say where a transform that mixes images has no wrapper, and where a wrapper refuses its data sets."""
    findings, key = [], f'{split}_dataloader'
    loaders = cfg.get(key)
    for i, loader in enumerate(as_list(loaders)):
        if isinstance(loader, dict):
            outer = f'{key}.{i}' if isinstance(loaders, (list, tuple)) else key
            whole = Entry(f'{outer}.dataset', split, loader.get('dataset'), None)
            for node in _nodes(whole, cfg.get('default_scope')):
                findings += [*_without_mixer(*node), *_unlike(*node), *_without_classes(*node)]
    return [Finding(text, STOPS) for text in findings]


def _nodes(node: Entry, scope: str | None) -> Iterator[tuple[Entry, str | None]]:
    """A data set and all inside it, from the outside in, each with its class and its scope."""
    if not isinstance(node.cfg, dict):
        return
    node.cls = resolve(node.cfg.get('type'), DATASETS, node.cfg.get('_scope_') or scope)
    yield node, node.cfg.get('_scope_') or scope
    for inner in _inner(node):
        yield from _nodes(inner, scope)


def _inner(node: Entry) -> list[Entry]:
    """The data sets in a wrapper."""
    parts = {f'{node.key}.dataset': node.cfg.get('dataset')} if 'dataset' in node.cfg else {}
    parts.update(
        (f'{node.key}.datasets.{i}', part) for i, part in enumerate(as_list(node.cfg.get('datasets')))
    )
    return [Entry(key, node.split, part, None) for key, part in parts.items()]


def _without_mixer(node: Entry, scope: str | None) -> Iterator[str]:
    """Transforms that mix images where nothing hands these to them."""
    steps, asked = as_list(node.cfg.get('pipeline')), ''
    if node.name == _MIXER:
        asked = _ASKED.get(owners(node.cls)[0].split('.')[0], '')
    elif _inner(node) or not _reads_plainly(node.cls):
        return
    for step in steps_in(steps):
        cls = resolve(step.get('type'), TRANSFORMS, scope)
        package = _mixes(cls)
        if not package or asked == _ASKED[package] and step in steps:
            continue
        name = f"'{package}.{_MIXER}'"
        where = f'{node.key}.pipeline: {cls.__name__} mixes several images of a data set'
        if asked == _ASKED[package]:
            outer = kind_of(next(other for other in steps if any(step is inner for inner in steps_in(other))))
            alone = f'{name} hands them to the steps of its own pipeline alone'
            yield f'{where}, and {alone}. Take it out of {outer}.'
        else:
            form = f'dict(type={name}, dataset=dict(..., pipeline=[loading]), pipeline=[{cls.__name__}, ...])'
            yield f'{where}, which only {name} hands to it. Wrap the data set: {form}.'


def _mixes(cls: type | None) -> str:
    """The package whose wrapper a transform needs; '' where it needs none, or keeps earlier images itself."""
    if cls is None or 'max_cached_images' in inspect.signature(cls).parameters:
        return ''
    packages, names = [owner.split('.')[0] for owner in owners(cls)], dir(cls)
    return next((name for name, method in _ASKED.items() if name in packages and method in names), '')


def _reads_plainly(cls: type | None) -> bool:
    """Whether a data set gives its pipeline one sample and nothing more."""
    readers = [getattr(cls, name, None) for name in ('prepare_data', '__getitem__')]
    return all(getattr(read, '__module__', '').split('.')[0] in _PLAIN for read in readers)


def _unlike(node: Entry, scope: str | None) -> Iterator[str]:
    """Data sets that ConcatDataset does not join, since their meta information differs."""
    if not (node.cls and issubclass(node.cls, ConcatDataset)):
        return
    parts = _inner(node)
    metas = [_meta(part, scope) for part in parts]
    ignored = as_list(node.cfg.get('ignore_keys'))
    for part, meta in zip(parts[1:], metas[1:]):
        known = meta is not None and metas[0] is not None
        for name in sorted({*metas[0], *meta} - set(ignored)) if known else ():
            found = _difference(metas[0].get(name), meta.get(name))
            if not found:
                continue
            other = f'{part.key} has another {name!r} than {parts[0].key}: {found}'
            cure = f"set {node.key}.ignore_keys={[*ignored, name]} to take the first one's"
            if name == 'classes':
                cure = 'map the labels of one to the classes of the other'
            cure = f'Give both the same, or {cure}.'
            yield f'{node.key}: ConcatDataset joins data sets of one metainfo, and {other}. {cure}'


def _meta(node: Entry, scope: str | None) -> dict | None:
    """The meta information of a data set, or of the first one in a wrapper; None where it is not known."""
    first = [entry for entry, _ in _nodes(node, scope)][:1]
    inner = next((part for entry in first for part in _inner(entry)), None)
    if inner is not None:
        return _meta(inner, scope)
    try:
        return build_without_pipeline(node, node.cfg.get('_scope_') or scope, lazy_init=True).metainfo
    except Exception:  # anybody's class; that it cannot be built is told elsewhere
        return None


def _difference(first: Any, other: Any) -> str:
    """Where two values differ; '' where they do not."""
    if type(first) is type(other) and np.array_equal(first, other):
        return ''
    lists = all(isinstance(value, (list, tuple)) for value in (first, other)) and len(first) == len(other)
    if lists and type(first) is type(other):
        i = next(i for i, (a, b) in enumerate(zip(first, other)) if not np.array_equal(a, b))
        return f'number {i} is {_short(other[i])}, there {_short(first[i])}'
    return f'{_short(other)}, there {_short(first)}'


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f'{text[:most]}...'


def _without_classes(node: Entry, scope: str | None) -> Iterator[str]:
    """Data sets that ClassBalancedDataset cannot ask for the classes of an image."""
    if not (node.cls and issubclass(node.cls, ClassBalancedDataset)):
        return
    for inner, _ in list(_nodes(node, scope))[1:]:
        if getattr(inner.cls, 'get_cat_ids', None) is BaseDataset.get_cat_ids:
            needs = f'ClassBalancedDataset needs get_cat_ids, which {inner.name} does not have'
            yield f'{node.key}: {needs}. Define it, or use RepeatDataset.'
