"""What the values in label maps stand for, and which of them no class has."""
from dataclasses import dataclass, field

import numpy as np

from kd_methods.datasets.cityscapes_labels import LABELS

from .cures import command_of, cure_of
from .findings import STOPS, WRONG, listed, some
from .leaves import Leaf
from .splits import Split

IGNORED = 255
_HIGHEST_ID = max(label.id for label in LABELS)  # of Cityscapes


@dataclass
class Labels:
    """How a data set numbers its classes, and what was seen of them.

    Attributes:
        classes (tuple[str]): Their names; none where the data set does not say.
        zero (bool): ``reduce_zero_label``: 0 is ignored, classes begin at 1.
        label_map (dict[int, int] | None): Values that stand for another one.
        ignored (set[int]): Values, after these two, that are no class on purpose.
        pixels (np.ndarray): Number of pixels of each value after these two.
        images (np.ndarray): Number of images with it.
        raw (np.ndarray): Number of pixels of each value in the files.
        beyond (list[tuple[str, str]]): Files with other values, and those.
        highest (int): The highest of those, as the network gets them; -1 without any.
    """
    classes: tuple[str, ...]
    zero: bool = False
    label_map: dict[int, int] | None = None
    ignored: set[int] = field(default_factory=lambda: {IGNORED})
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    raw: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    beyond: list[tuple[str, str]] = field(default_factory=list)
    highest: int = -1

    def __post_init__(self) -> None:
        self.meaning = meanings(self.zero, self.label_map)
        allowed = np.isin(self.meaning, [*range(len(self.classes)), *self.ignored])
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
            self.highest = max(self.highest, int(self.meaning[foreign].max()))

    @property
    def expected(self) -> str:
        """The values that files may hold, in words."""
        k = len(self.classes)
        if self.label_map:
            return f'those of its label_map, for {k} classes'
        return f'1 to {k}, and 0 or 255 for ignored' if self.zero else f'0 to {k - 1}, and 255 for ignored'


def meanings(zero: bool, label_map: dict[int, int] | None) -> np.ndarray:
    """What mmseg's LoadAnnotations makes of each of the values 0 to 255."""
    values = np.arange(256)
    if zero:
        values = np.where((values == 0) | (values == 255), 255, values - 1)
    result = values.copy()
    for old, new in (label_map or {}).items():
        result[values == old] = new
    return result.clip(0, 255)


def judge(split: Split, labels: Labels, limit: int | None) -> None:
    """Say what is wrong with the values of a split's labels.

    Args:
        split (Split): Gets the sentences.
        labels (Labels): All that was seen.
        limit (int | None): A label from here on stops the training; None where that is not known.
    """
    if labels.beyond:
        level = STOPS if limit is not None and labels.highest >= limit and split.leaf.split == 'train' else WRONG
        split.say(level, f'{split.read_share(len(labels.beyond), "label files")} with values that are no class: '
                  f'{some(labels.beyond)}. Expected: {labels.expected} ({split.leaf.name}, reduce_zero_label={labels.zero}). '
                  f'{_why_beyond(split.leaf, labels)}.')
    elif labels.pixels.any() and labels.classes:
        _judge_classes(split, labels)


def _judge_classes(split: Split, labels: Labels) -> None:
    count = len(labels.classes)
    raw = np.flatnonzero(labels.raw).tolist()
    if not labels.pixels[:count].any():
        split.say(WRONG, f'no pixel of the labels has a class: the files hold {listed(raw)} alone, and that is ignored. '
                  f'Expected: {labels.expected}.' + (f' {_BINARY}.' if raw == [0, 255] else ''))
    elif raw == [0, 255] and count > 1 and not labels.zero:
        split.say(WRONG, f'the label files hold 0 and 255 alone, and 255 is ignored: of the {count} classes only '
                  f'{labels.classes[0]!r} would be learnt. {_BINARY}.')


_BINARY = 'In masks of 0 and 255, 255 has to become 1: write them anew as `mask // 255`, with the classes (background, object)'


def _why_beyond(leaf: Leaf, labels: Labels) -> str:
    """The likely reason, and the cure."""
    raw, count = np.flatnonzero(labels.raw).tolist(), len(labels.classes)
    cure, path = cure_of(leaf), labels.beyond[0][0]
    if raw == [0, 255]:
        return _BINARY
    if path.lower().endswith(('.jpg', '.jpeg')):
        return 'JPEG changes the values of labels: write PNG from what they were made of'
    if cure and cure.ending and labels.highest <= _HIGHEST_ID:
        if not path.endswith(cure.ending):
            return f'These are ids, not train ids. Leave seg_map_suffix out, to read *_{cure.ending}; {command_of(leaf)} writes it'
        return f'These are ids under the name of train ids: {command_of(leaf)} --overwrite writes train ids'
    if not labels.zero and labels.highest == count and 0 in raw and not labels.label_map:
        return (f'There are {count + 1} values for {count} classes. If 0 is unlabelled, set reduce_zero_label=True, of the data '
                'set and of LoadAnnotations; if it is a class (background), name it in metainfo.classes and add 1 to num_classes')
    if command_of(leaf):
        return f'{command_of(leaf)} writes labels as they are expected'
    return (f'Number the classes in the label files from {int(labels.zero)} on, without gaps; or name all of them in '
            'metainfo.classes of the data set, with as many num_classes in the heads')
