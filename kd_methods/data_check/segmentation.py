"""Look at a data set of semantic segmentation."""
import copy
import inspect
from typing import Any

import numpy as np
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset

from kd_methods.core.cli import raised_here

from .findings import NOTE, STOPS, WRONG, listed
from .heads import Head
from .labels import IGNORED, Labels, judge
from .leaves import Leaf
from .pairing import Folders, find_labels_alone, pair
from .problems import say_of_files
from .reading import Reading, reading_of
from .scan import Sample
from .splits import Effort, Split


def look_at_segmentation(leaf: Leaf, scope: str | None, heads: list[Head], effort: Effort) -> Split:
    """List a data set of mmseg, pair its files, read them and judge the labels.

    Args:
        leaf (Leaf): Its place in the config.
        scope (str | None): Registry scope of the config.
        heads (list[Head]): Of the networks.
        effort (Effort): How much is looked at.
    """
    split = Split(leaf, unit='pixels')
    if effort.quick and not _lists_simply(leaf.cls):
        return split
    dataset = _build(split, scope, effort.quick)
    if dataset is None:
        return split
    reading = reading_of(leaf, scope)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    split.classes = tuple(dataset.metainfo.get('classes') or ())
    split.images = [info['img_path'] for info in infos if info.get('img_path')]
    samples = [Sample(info.get('img_path') if reading.image else None, info.get('seg_map_path') if reading.label else None,
                      info.get('x_path') if reading.x else None) for info in infos]
    if reading.unknown:
        split.say(NOTE, f'not all is looked at: {listed(reading.unknown)} of the pipeline reads or changes files in a way that is '
                  'not known here.')
    _check_zero(split, dataset, reading)
    folders = Folders()
    whole = pair(split, dataset, samples, folders, reading.skips)
    split.labels = sum(s.label is not None for s in whole) if reading.label else None
    split.x = sum(s.x is not None for s in whole) if reading.x else None
    if not effort.quick and reading.label:
        find_labels_alone(split, dataset, folders)
    if not reading.image and not reading.label:
        return split
    first = infos[0] if infos else {}
    heads = [head for head in heads if head.unit == 'pixels' and not head.teacher]
    labels = Labels(split.classes, bool(first.get('reduce_zero_label')), first.get('label_map'),
                    {IGNORED, dataset.ignore_index, *(head.cfg.get('ignore_index', IGNORED) for head in heads)})
    _read(split, whole, reading, labels, effort)
    limits = [head.classes for head in heads if head.refuses_more]
    judge(split, labels, min(limits, default=None))
    return split


def _read(split: Split, samples: list[Sample], reading: Reading, labels: Labels, effort: Effort) -> None:
    chosen = effort.choose(samples)
    problems = []
    for seen, sample in zip(effort.read(split.leaf.key, chosen, reading), chosen):
        problems += seen.problems
        if seen.size is not None:
            split.sizes[seen.size] += 1
        if seen.values is not None:
            labels.add(sample.label, seen.values)
    split.looked, split.sampled = len(chosen), len(chosen) < len(samples)
    say_of_files(split, problems, _lived_with(reading))
    occurring = np.flatnonzero(labels.pixels[:len(labels.classes)])
    split.used = int(occurring.max()) + 1 if len(occurring) else None
    split.counts, split.with_class = labels.pixels[:len(labels.classes)], labels.images[:len(labels.classes)]


def _lived_with(reading: Reading) -> set[str]:
    """Problems that end no run of such a pipeline."""
    return {kind for kind, lives in (('image', reading.skips), ('label size', reading.resizes)) if lives}


def _lists_simply(cls: type) -> bool:
    """Whether a data set's listing is mmseg's plain one or of this project: quick, and known to do nothing else."""
    listing = cls.load_data_list
    if cls.prepare_data is not BaseSegDataset.prepare_data or cls.__getitem__ is not BaseSegDataset.__getitem__:
        return False  # files may be other ones than listed
    return listing.__module__.split('.')[0] == 'kd_methods' or listing.__qualname__ == 'BaseSegDataset.load_data_list'


def _build(split: Split, scope: str | None, quick: bool) -> Any:
    """The data set without its pipeline; None, and a finding, where that fails."""
    cfg = copy.deepcopy(dict(split.leaf.cfg))
    kind = cfg.pop('type')
    scope = cfg.pop('_scope_', None) or scope
    cfg['pipeline'] = []
    parameters = inspect.signature(split.leaf.cls).parameters.values()
    if any(p.name == 'serialize_data' or p.kind is p.VAR_KEYWORD for p in parameters):
        cfg['serialize_data'] = False  # which fails where there is no image at all
    for without_x in (False, True):
        try:
            with DefaultScope.overwrite_default_scope(scope):
                return split.leaf.cls(**cfg)
        except Exception as error:  # a data set of anybody's
            if raised_here(error):
                split.say(STOPS, str(error), isinstance(error, FileNotFoundError))
            elif not quick:
                split.say(WRONG, f'{kind} cannot be built: {type(error).__name__}: {error}')
            prefix = cfg.get('data_prefix') or {}
            if without_x or not isinstance(error, FileNotFoundError) or 'x_path' not in prefix:
                return None
            cfg['data_prefix'] = {k: v for k, v in prefix.items() if k != 'x_path'}  # the rest can be looked at
    return None


def _check_zero(split: Split, dataset: Any, reading: Reading) -> None:
    """mmseg's LoadAnnotations refuses another ``reduce_zero_label`` than that of the data set."""
    own = getattr(dataset, 'reduce_zero_label', False)
    if reading.label and reading.zero is not None and reading.zero != own:
        split.say(STOPS, f'LoadAnnotations of the pipeline has reduce_zero_label={reading.zero}, {split.leaf.name} has {own}. Give '
                  'both the same: True where 0 is unlabelled and classes begin at 1.')
