"""Look at a data set of semantic segmentation: its files, and what the values in its label maps stand for."""

from collections.abc import Sequence

import numpy as np
from mmseg.datasets import BaseSegDataset

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, EntryReport, first_files
from kd_methods.data_check.head_classes import Head
from kd_methods.data_check.pairing import find_labels_alone, pair
from kd_methods.data_check.pipeline import build_without_pipeline
from kd_methods.data_check.recipes import hint_rebuild, recipe_of
from kd_methods.data_check.scan import Sample
from kd_methods.datasets.cityscapes_labels import LABELS
from kd_methods.datasets.entries import Entry
from kd_methods.utils.errors import describe_error, is_own_error
from kd_methods.utils.text import first_few

_HIGHEST_ID = max(label.id for label in LABELS)  # of Cityscapes
_BINARY = 'In masks of 0 and 255, 255 has to become 1: write `mask // 255`, with classes (background, object)'


class Labels:
    """How a data set numbers its classes, and what was seen of them; ``count`` is 0 where it does not say."""

    def __init__(self, count: int, zero: bool, label_map: dict[int, int] | None, ignored: int | None) -> None:
        self.count, self.zero = count, zero
        # Of each value: pixels in the files; pixels and images after ``zero`` and ``label_map``.
        self.raw, self.pixels, self.images = np.zeros((3, 256), np.int64)
        self.beyond: list[tuple[str, str]] = []  # files with values neither a class nor ignored, and those
        self.meaning = meanings(zero, label_map)
        other = self.meaning >= count
        self.foreign = other & (self.meaning != ignored) & bool(count)
        skipped = np.flatnonzero(other & (self.meaning == ignored))
        also = f', and {" or ".join(map(str, skipped))} for ignored' if len(skipped) else ''
        numbers = f'{int(zero)} to {count - 1 + int(zero)}{also}'
        self.expected = f'values of its label_map, for {count} classes' if label_map else numbers

    def add(self, path: str, values: np.ndarray) -> None:
        """Take in the values of a file."""
        self.raw += values
        pixels = np.bincount(self.meaning, values, 256).astype(np.int64)
        self.pixels += pixels
        self.images += pixels > 0
        foreign = np.flatnonzero(self.foreign & (values > 0))
        if len(foreign):
            self.beyond.append((path, first_few(foreign.tolist(), 6)))


def meanings(zero: bool, label_map: dict[int, int] | None) -> np.ndarray:
    """What mmseg's LoadAnnotations makes of each of the values 0 to 255."""
    values = np.arange(256)
    if zero:
        values = np.where((values == 0) | (values == 255), 255, values - 1)
    result = values.copy()
    for old, new in (label_map or {}).items():
        result[values == old] = new
    return result.clip(0, 255)


def look_at_segmentation(report: EntryReport, heads: list[Head], ignored: int | None) -> None:
    """List a data set of mmseg, pair its files, read them and judge the labels."""
    entry, info, quick = report.entry, report.info, report.budget.quick
    if quick and not _lists_simply(entry.cls):
        return
    try:
        dataset = build_without_pipeline(entry, report.scope)
    except Exception as error:  # anybody's class
        if is_own_error(error):
            report.say(STOPS, str(error), isinstance(error, FileNotFoundError))
        elif not quick:
            report.say(WRONG, f'{entry.name} cannot be built: {describe_error(error, 10_000)}')
        return
    report.unit = 'pixels'
    report.take_classes(dataset.metainfo.get('classes'))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    report.images = [sample['img_path'] for sample in infos if sample.get('img_path')]
    read = dict(img_path=info.image, seg_map_path=info.label, x_path=info.x)
    samples = [Sample(*(sample.get(key) if on else None for key, on in read.items())) for sample in infos]
    zero = getattr(dataset, 'reduce_zero_label', False)
    if info.label and info.zero not in (None, zero):
        text = f'LoadAnnotations of the pipeline has reduce_zero_label={info.zero}, {entry.name} has {zero}'
        cure = 'Give both the same: True where 0 is unlabelled and classes begin at 1'
        report.say(STOPS, f'{text}. {cure}.')
    if info.label and not all(sample.get('seg_map_path') for sample in infos) and _lists_simply(entry.cls):
        text = f'LoadAnnotations of the pipeline reads labels, and {entry.name} names none. Set'
        report.say(STOPS, f'{text} --cfg-options {entry.key}.data_prefix.seg_map_path=DIR, or take it out.')
    if info.unknown:
        unknown = first_few(info.unknown, 10)
        report.say(NOTE, f'not all is looked at: it is not known here what {unknown} of the pipeline does.')
    whole = pair(report, dataset, samples)
    report.labels = sum(s.label is not None for s in whole) if info.label else None
    report.x = sum(s.x is not None for s in whole) if info.x else None
    if not quick and info.label:
        find_labels_alone(report, dataset)
    if info.image:
        label_map = infos[0].get('label_map') if infos else None
        labels = Labels(len(report.classes), bool(zero), label_map, ignored)
        _read(report, whole, labels)
        _judge(report, labels, heads)


def _lists_simply(cls: type) -> bool:
    """Whether the listing is mmseg's plain one or of this project, and no code may read other files."""
    listing, plain = cls.load_data_list, BaseSegDataset
    known = listing is plain.load_data_list or listing.__module__.startswith('kd_methods.')
    return known and cls.prepare_data is plain.prepare_data and cls.__getitem__ is plain.__getitem__


def _read(report: EntryReport, samples: list[Sample], labels: Labels) -> None:
    """Read samples: problems, sizes, and the values of the labels."""
    problems = []
    for sample, seen in report.read(samples):
        problems += seen.problems
        if seen.values is not None:
            labels.add(sample.label, seen.values)
    report.say_of_files(problems)
    report.counts, report.with_class = labels.pixels[: labels.count], labels.images[: labels.count]
    report.used = int(np.flatnonzero(report.counts).max(initial=-1)) + 1


def _judge(report: EntryReport, labels: Labels, heads: Sequence[Head]) -> None:
    """Say what is wrong with the values of the labels, given the heads that would be trained with them."""
    entry, raw = report.entry, np.flatnonzero(labels.raw).tolist()
    seen = np.flatnonzero(labels.pixels).tolist()
    if labels.beyond:
        refused = entry.split == 'train' and any(head.refuses(label) for head in heads for label in seen)
        files = f'{report.part_read(len(labels.beyond), "label files")} with values that are no class'
        text = f'{files}: {first_files(labels.beyond)}. Expected: {labels.expected} ({entry.name}'
        text = f'{text}, reduce_zero_label={labels.zero}). {_why_beyond(entry, labels, raw)}.'
        report.say(STOPS if refused else WRONG, text)
    elif seen and labels.count and not report.used:
        binary = f' {_BINARY}.' if raw == [0, 255] else ''
        text = f'the files hold {first_few(raw, 10)} alone, which is ignored'
        report.say(WRONG, f'no pixel of the labels has a class: {text}. Expected: {labels.expected}.{binary}')
    elif raw == [0, 255] and labels.count > 1 and not labels.zero:
        learnt = f'only the first of the {labels.count} classes would be learnt'
        report.say(WRONG, f'the label files hold 0 and 255 alone, and 255 is ignored: {learnt}. {_BINARY}.')


def _why_beyond(entry: Entry, labels: Labels, raw: list[int]) -> str:
    """The likely reason of values that are no class, and the cure."""
    recipe, path, count = recipe_of(entry), labels.beyond[0][0], labels.count
    highest = int(labels.meaning[labels.foreign & (labels.raw > 0)].max())
    if raw == [0, 255]:
        return _BINARY
    if path.lower().endswith(('.jpg', '.jpeg')):
        return 'JPEG changes the values of labels: write PNG from what they were made of'
    if recipe and recipe.ending and highest <= _HIGHEST_ID:
        what = 'under the name of train ids' if path.endswith(recipe.ending) else 'not train ids'
        return f'These are ids, {what}. {hint_rebuild(entry, path)}'
    if not labels.zero and highest == count and 0 in raw:
        ignored = 'set reduce_zero_label=True, of the data set and of LoadAnnotations'
        other = 'if it is a class (background), name it in metainfo.classes and add 1 to num_classes'
        return f'There are {count + 1} values for {count} classes. If 0 is unlabelled, {ignored}; {other}'
    text = f'Number the classes in the label files from {int(labels.zero)} on, without gaps'
    text = f'{text}, and name all of them in metainfo.classes, with as many num_classes in the heads'
    cure = f'{text}; pixels to ignore get the ignore_index of all heads and metrics'
    return hint_rebuild(entry, path) or cure
