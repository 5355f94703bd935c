"""What the values in label maps stand for, and which of them no class has."""

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kd_methods.data_check.findings import STOPS, WRONG, listed, some
from kd_methods.data_check.heads import IGNORED, Head
from kd_methods.data_check.recipes import cure_of, how_to_remake
from kd_methods.data_check.splits import Split
from kd_methods.datasets.cityscapes_labels import LABELS
from kd_methods.datasets.entries import Leaf, is_local

_HIGHEST_ID = max(label.id for label in LABELS)  # of Cityscapes


@dataclass
class Labels:
    """How a data set numbers its classes, and what was seen of them.

    Attributes:
        classes (tuple[str]): Their names; none where the data set does not say.
        zero (bool): ``reduce_zero_label``: 0 is ignored, classes begin at 1.
        label_map (dict[int, int] | None): Values that stand for another one.
        ignoring (dict[str, int]): Which value, after these two, each of those who get the labels ignores, by
            config key.
        others (set[int]): Values that somebody else means to be ignored.
        pixels (np.ndarray): Number of pixels of each value after these two.
        images (np.ndarray): Number of images with it.
        raw (np.ndarray): Number of pixels of each value in the files.
        beyond (list[tuple[str, str]]): Files with other values, and those.
    """

    classes: tuple[str, ...]
    zero: bool = False
    label_map: dict[int, int] | None = None
    ignoring: dict[str, int] = field(default_factory=dict)
    others: set[int] = field(default_factory=set)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    raw: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    beyond: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.meaning = meanings(self.zero, self.label_map)
        values = set(self.ignoring.values()) or {IGNORED}
        self.ignored = (
            values.pop() if len(values) == 1 else None
        )  # what one ignores and another does not is not ignored
        allowed = (self.meaning < len(self.classes)) | (self.meaning == self.ignored)
        self.foreign = ~allowed if self.classes else np.zeros(256, bool)

    def add(self, path: str, values: np.ndarray) -> None:
        """Take in the values of a file."""
        self.raw += values
        pixels = np.bincount(self.meaning, values, 256).astype(np.int64)
        self.pixels += pixels
        self.images += pixels > 0
        foreign = np.flatnonzero(self.foreign & (values > 0))
        if len(foreign):
            self.beyond.append((path, listed(foreign.tolist(), 6)))

    @property
    def expected(self) -> str:
        """The values that files may hold, in words."""
        k, first = len(self.classes), int(self.zero)
        if self.label_map:
            return f'those of its label_map, for {k} classes'
        ignored = np.flatnonzero((self.meaning == self.ignored) & (self.meaning >= k))
        return f'{first} to {k - 1 + first}' + (
            f', and {" or ".join(map(str, ignored))} for ignored' if len(ignored) else ''
        )

    @property
    def strange(self) -> list[int]:
        """The values that were seen, after the two, that are neither a class nor ignored."""
        return [
            value
            for value in np.flatnonzero(self.pixels).tolist()
            if value >= len(self.classes) and value != self.ignored
        ]


def class_names(split: Split, metainfo: dict[str, Any]) -> tuple[str, ...]:
    """Names of a data set's classes; none, and a finding, where its config has one text for all of them.

    Args:
        split (Split): Gets the finding.
        metainfo (dict): Of the data set, as it was read.
    """
    given = (split.leaf.cfg.get('metainfo') or {}).get('classes')
    if not isinstance(given, str) or not is_local(given) or osp.isfile(given):  # a list of names
        return tuple(metainfo.get('classes') or ())
    split.say(
        WRONG,
        f'metainfo.classes={given!r} is one text and no file, so that each of its letters would be a class. '
        f'For one class, write classes=({given!r},) with a comma.',
    )
    return ()


def meanings(zero: bool, label_map: dict[int, int] | None) -> np.ndarray:
    """What mmseg's LoadAnnotations makes of each of the values 0 to 255."""
    values = np.arange(256)
    if zero:
        values = np.where((values == 0) | (values == 255), 255, values - 1)
    result = values.copy()
    for old, new in (label_map or {}).items():
        result[values == old] = new
    return result.clip(0, 255)


def judge(split: Split, labels: Labels, heads: Sequence[Head]) -> None:
    """Say what is wrong with the values of a split's labels.

    Args:
        split (Split): Gets the sentences.
        labels (Labels): All that was seen.
        heads (Sequence[Head]): Those that would be trained with them.
    """
    if labels.beyond:
        refused = any(
            head.refuses(label) for head in heads for label in np.flatnonzero(labels.pixels).tolist()
        )
        level = STOPS if refused and split.leaf.split == 'train' else WRONG
        split.say(
            level,
            f'{split.read_share(len(labels.beyond), "label files")} with values that are no class: '
            f'{some(labels.beyond)}. Expected: {labels.expected} ({split.leaf.name}, '
            f'reduce_zero_label={labels.zero}). {_why_beyond(split.leaf, labels)}.',
        )
    elif labels.pixels.any() and labels.classes:
        _judge_classes(split, labels)


def _judge_classes(split: Split, labels: Labels) -> None:
    count = len(labels.classes)
    raw = np.flatnonzero(labels.raw).tolist()
    if not labels.pixels[:count].any():
        split.say(
            WRONG,
            f'no pixel of the labels has a class: the files hold {listed(raw)} alone, and that is ignored. '
            f'Expected: {labels.expected}.' + (f' {_BINARY}.' if raw == [0, 255] else ''),
        )
    elif raw == [0, 255] and count > 1 and not labels.zero:
        split.say(
            WRONG,
            f'the label files hold 0 and 255 alone, and 255 is ignored: of the {count} classes only '
            f'{labels.classes[0]!r} would be learnt. {_BINARY}.',
        )


_BINARY = 'In masks of 0 and 255, 255 has to become 1: write them anew as `mask // 255`, with the classes (background, object)'


def _why_beyond(leaf: Leaf, labels: Labels) -> str:
    """The likely reason, and the cure."""
    raw, count = np.flatnonzero(labels.raw).tolist(), len(labels.classes)
    cure, path = cure_of(leaf), labels.beyond[0][0]
    if raw == [0, 255]:
        return _BINARY
    if path.lower().endswith(('.jpg', '.jpeg')):
        return 'JPEG changes the values of labels: write PNG from what they were made of'
    if labels.ignoring and labels.others.issuperset(labels.strange):
        value = labels.strange[0]
        asked = [f'{key}={ignored}' for key, ignored in labels.ignoring.items()]
        return (
            f'{listed(asked)} alone decides what is ignored, not the data set. If {value} is no class, set '
            f'--cfg-options {" ".join(f"{key}={value}" for key in labels.ignoring)}, and have one such '
            'value in the label files'
        )
    if cure and cure.ending and labels.strange[-1] <= _HIGHEST_ID:
        what = 'under the name of train ids' if path.endswith(cure.ending) else 'not train ids'
        return f'These are ids, {what}. {how_to_remake(leaf, path)}'
    if not labels.zero and labels.strange[-1] == count and 0 in raw and not labels.label_map:
        return (
            f'There are {count + 1} values for {count} classes. If 0 is unlabelled, set '
            'reduce_zero_label=True, of the data set and of LoadAnnotations; if it is a class '
            '(background), name it in metainfo.classes and add 1 to num_classes'
        )
    return how_to_remake(leaf, path) or (
        f'Number the classes in the label files from {int(labels.zero)} on, without gaps; or name all of '
        'them in metainfo.classes of the data set, with as many num_classes in the heads'
    )
