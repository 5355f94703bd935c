"""Look at a data set of semantic segmentation."""

import copy
import inspect
from typing import Any

import numpy as np
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, listed
from kd_methods.data_check.heads import IGNORED, Head
from kd_methods.data_check.labels import Labels, class_names, judge
from kd_methods.data_check.pairing import Folders, find_labels_alone, pair
from kd_methods.data_check.pipeline import Reading, reading_of
from kd_methods.data_check.problems import say_of_files
from kd_methods.data_check.scan import Sample
from kd_methods.data_check.splits import Effort, Split
from kd_methods.datasets.entries import Leaf, owners
from kd_methods.utils.errors import is_own_error

# A crop of the image's size can be taken of a larger label; a metric compares the whole of both.
_KINDS_OF_METRICS = {'label larger': 'label size'}


def look_at_segmentation(
    leaf: Leaf, scope: str | None, heads: list[Head], ignoring: dict[str, Any], effort: Effort
) -> Split:
    """List a data set of mmseg, pair its files, read them and judge the labels.

    Args:
        leaf (Leaf): Its place in the config.
        scope (str | None): Registry scope of the config.
        heads (list[Head]): That are trained on labels.
        ignoring (dict[str, Any]): The label that is ignored by each of those who get the labels, by config
            key.
        effort (Effort): How much is looked at.
    """
    split = Split(leaf, unit='pixels')
    if effort.quick and not _lists_simply(leaf.cls):
        return split
    dataset = _build(split, scope, effort.quick)
    split.classes = class_names(split, getattr(dataset, 'metainfo', {}))
    if dataset is None:
        return split
    reading = reading_of(leaf, scope)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    split.images = [info['img_path'] for info in infos if info.get('img_path')]
    samples = [
        Sample(
            info.get('img_path') if reading.image else None,
            info.get('seg_map_path') if reading.label else None,
            info.get('x_path') if reading.x else None,
        )
        for info in infos
    ]
    if reading.unknown:
        split.say(
            NOTE,
            f'not all is looked at: {listed(reading.unknown)} of the pipeline reads or changes files in a '
            'way that is not known here.',
        )
    _check_zero(split, dataset, reading)
    _check_named(split, dataset, infos, reading)
    folders = Folders()
    whole = pair(split, dataset, samples, folders, reading.skips)
    split.labels = sum(s.label is not None for s in whole) if reading.label else None
    split.x = sum(s.x is not None for s in whole) if reading.x else None
    if not effort.quick and reading.label:
        find_labels_alone(split, dataset, folders)
    if not reading.image and not reading.label:
        return split
    first = infos[0] if infos else {}
    labels = Labels(
        split.classes,
        bool(first.get('reduce_zero_label')),
        first.get('label_map'),
        ignoring,
        {IGNORED, dataset.ignore_index, *ignoring.values()},
    )
    _read(split, whole, reading, labels, effort)
    judge(split, labels, heads)
    return split


def _read(split: Split, samples: list[Sample], reading: Reading, labels: Labels, effort: Effort) -> None:
    chosen = effort.choose(samples)
    problems, measured = [], split.leaf.split != 'train'
    for seen, sample in zip(effort.read(split.leaf.key, chosen, reading), chosen):
        problems += [
            (_KINDS_OF_METRICS.get(kind, kind) if measured else kind, *rest) for kind, *rest in seen.problems
        ]
        if seen.size is not None:
            split.sizes[seen.size] += 1
        if seen.values is not None:
            labels.add(sample.label, seen.values)
    split.looked, split.sampled = len(chosen), len(chosen) < len(samples)
    say_of_files(split, problems, _lived_with(reading))
    occurring = np.flatnonzero(labels.pixels[: len(labels.classes)])
    split.used = int(occurring.max()) + 1 if len(occurring) else None
    split.counts, split.with_class = (
        labels.pixels[: len(labels.classes)],
        labels.images[: len(labels.classes)],
    )


def _lived_with(reading: Reading) -> set[str]:
    """Problems that end no run of such a pipeline."""
    return {kind for kind, lives in (('image', reading.skips), ('label size', reading.resizes)) if lives}


def _lists_simply(cls: type) -> bool:
    """Whether a data set's listing is mmseg's plain one or of this project: quick, and known to do nothing
    else.
    """
    listing = cls.load_data_list
    if not _reads_what_it_lists(cls):
        return False
    return (
        listing.__module__.split('.')[0] == 'kd_methods'
        or listing.__qualname__ == 'BaseSegDataset.load_data_list'
    )


def _reads_what_it_lists(cls: type) -> bool:
    """Whether no code of the data set's own may read other files than it lists."""
    return cls.prepare_data is BaseSegDataset.prepare_data and cls.__getitem__ is BaseSegDataset.__getitem__


def _build(split: Split, scope: str | None, quick: bool) -> Any:
    """The data set without its pipeline; None, and a finding, where that fails."""
    cfg = copy.deepcopy(dict(split.leaf.cfg))
    kind = cfg.pop('type')
    scope = cfg.pop('_scope_', None) or scope
    cfg['pipeline'] = []
    cfg.pop('lazy_init', None)  # or it would fail later
    parameters = inspect.signature(split.leaf.cls).parameters.values()
    if any(p.name == 'serialize_data' or p.kind is p.VAR_KEYWORD for p in parameters):
        cfg['serialize_data'] = False  # which fails where there is no image at all
    for without_x in (False, True):
        try:
            with DefaultScope.overwrite_default_scope(scope):
                return split.leaf.cls(**cfg)
        except Exception as error:  # a data set of anybody's
            if is_own_error(error):
                split.say(STOPS, str(error), isinstance(error, FileNotFoundError))
            elif not quick:
                split.say(WRONG, f'{kind} cannot be built: {type(error).__name__}: {error}')
            prefix = cfg.get('data_prefix') or {}
            if without_x or not isinstance(error, FileNotFoundError) or 'x_path' not in prefix:
                return None
            cfg['data_prefix'] = {
                k: v for k, v in prefix.items() if k != 'x_path'
            }  # the rest can be looked at
    return None


def _check_zero(split: Split, dataset: Any, reading: Reading) -> None:
    """mmseg's LoadAnnotations refuses another ``reduce_zero_label`` than that of the data set."""
    own = getattr(dataset, 'reduce_zero_label', False)
    if reading.label and reading.zero is not None and reading.zero != own:
        split.say(
            STOPS,
            f'LoadAnnotations of the pipeline has reduce_zero_label={reading.zero}, {split.leaf.name} has '
            f'{own}. Give both the same: True where 0 is unlabelled and classes begin at 1.',
        )


def _check_named(split: Split, dataset: Any, infos: list[dict], reading: Reading) -> None:
    """What the pipeline reads and no sample names."""
    leaf, prefix = split.leaf, split.leaf.cfg.get('data_prefix') or {}
    if not _reads_what_it_lists(leaf.cls):
        return
    if reading.label and not all(info.get('seg_map_path') for info in infos):
        split.say(
            STOPS,
            f'LoadAnnotations of the pipeline reads labels, and {leaf.name} names none '
            f'(data_prefix={prefix}). Set --cfg-options {leaf.key}.data_prefix.seg_map_path=DIR; or, for '
            'images without labels, take LoadAnnotations out of the pipeline.',
        )
    unread = (
        'x_path' in prefix and 'x_path' not in dataset.data_prefix
    )  # left out by _build, which has said why
    if reading.x and not unread and not all(info.get('x_path') for info in infos):
        cure = f'Set --cfg-options {leaf.key}.data_prefix.x_path=DIR'
        if 'kd_methods.RGBXDataset' not in owners(leaf.cls):
            cure = (
                'That takes a data set with X (NYUv2Dataset, CityscapesDisparityDataset, SceneDataset, one '
                'of your own with RGBXDataset) and its data_prefix.x_path'
            )
        split.say(
            STOPS,
            f'LoadXFromFile of the pipeline reads X, and {leaf.name} names none. {cure}; or take '
            'LoadXFromFile out of the pipeline.',
        )
