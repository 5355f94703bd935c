"""Which files of a segmentation data set are there, and which belong together."""

import os
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from typing import Any

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, listed, share, some
from kd_methods.data_check.recipes import KINDS, command_of, cure_of, how_to_get
from kd_methods.data_check.scan import Sample
from kd_methods.data_check.splits import Split
from kd_methods.datasets.entries import Leaf

_IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')


class Folders:
    """Which files there are, each folder listed once."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def names(self, folder: str) -> set[str]:
        """Names in a folder; none if it cannot be listed."""
        if folder not in self._names:
            try:
                self._names[folder] = set(os.listdir(folder or '.'))
            except OSError:
                self._names[folder] = set()
        return self._names[folder]

    def __contains__(self, path: str) -> bool:
        folder, name = osp.split(path)
        return name in self.names(folder) or osp.exists(
            path
        )  # where capitals do not count, or a folder cannot be listed


def pair(
    split: Split, dataset: Any, samples: Sequence[Sample], folders: Folders, skips: bool = False
) -> list[Sample]:
    """The samples whose files are there; of the others, sentences.

    Args:
        split (Split): Gets the sentences.
        dataset (Any): The data set, built.
        samples (Sequence[Sample]): What it lists.
        folders (Folders): To look for files.
        skips (bool): The loader passes over images that are missing. Defaults to False.
    """
    if not samples:
        split.say(STOPS, f'{split.leaf.name} has no image: {_why_empty(split.leaf, dataset)}')
    there = [s for s in samples if s.image is None or s.image in folders]
    no_image = [s.image for s in samples if s.image is not None and s.image not in folders]
    if no_image:
        split.say(
            WRONG if skips else STOPS,
            f'{share(len(no_image), len(samples), "listed images")} missing: {some(no_image)}. '
            f'{_image_cure(split.leaf, dataset, no_image, folders)}',
            missing=True,
        )
    no_label = [s for s in there if s.label is not None and s.label not in folders]
    if no_label:
        suffix = getattr(dataset, 'seg_map_suffix', '') or ''
        labels = [s.label for s in no_label]
        split.say(
            STOPS,
            f'{share(len(no_label), len(samples), "images")} without a label file: '
            f'{some([s.image or s.label for s in no_label])}. No {labels[0]!r} (seg_map_suffix={suffix!r}). '
            f'{_label_cure(split.leaf, labels, suffix, len(labels) == len(samples), folders)}',
            missing=True,
        )
    twice = [path for path, times in Counter(s.image for s in there if s.image).items() if times > 1]
    if twice:
        split.say(NOTE, f'{share(len(twice), len(samples), "images")} listed more than once: {some(twice)}.')
    return [s for s in there if s.label is None or s.label in folders]


def find_labels_alone(split: Split, dataset: Any, folders: Folders) -> None:
    """A note where label files have no image, which a loader passes over without a word."""
    prefix = getattr(dataset, 'data_prefix', None) or {}
    images, labels = prefix.get('img_path'), prefix.get('seg_map_path')
    suffix = getattr(dataset, 'seg_map_suffix', None)
    if not images or not labels or not suffix or osp.realpath(images) == osp.realpath(labels):
        return
    alone = []
    for folder, _, names in os.walk(labels):
        below = osp.relpath(folder, labels)
        for name in sorted(names):
            image = osp.normpath(osp.join(images, below, name.removesuffix(suffix) + dataset.img_suffix))
            if name.endswith(suffix) and image not in folders:
                alone.append(osp.join(folder, name))
    if alone:
        split.say(
            NOTE,
            f'not read, as there is no image: {len(alone):,} label files, {some(alone)}. An image is '
            f'expected in {images!r} under the same name with {dataset.img_suffix!r}.',
        )


def shared_images(first: Split, second: Split) -> None:
    """A note where a file is an image of two data sets."""
    both = sorted(set(map(osp.normpath, first.images)) & set(map(osp.normpath, second.images)))
    if both:
        second.say(
            NOTE,
            f'{share(len(both), len(second.images), "images")} of {first.leaf.key} too: {some(both)}. What '
            'is measured on images of the training tells little.',
        )


def _why_empty(leaf: Leaf, dataset: Any) -> str:
    """An empty list, an empty folder, or files of another suffix."""
    ann_file, folder = (
        getattr(dataset, 'ann_file', ''),
        (getattr(dataset, 'data_prefix', None) or {}).get('img_path', ''),
    )
    if ann_file and osp.isfile(ann_file):
        return f'the list {ann_file!r} is empty. {how_to_get(leaf, ann_file)}.'
    suffix = getattr(dataset, 'img_suffix', '')
    names = sorted(name for _, _, files in os.walk(folder) for name in files)
    text = f'no file in {folder!r} ends in {suffix!r} (img_suffix)'
    kinds = Counter(osp.splitext(name)[1] for name in names)
    there = next((kind for kind, _ in kinds.most_common() if kind.lower() in _IMAGES), None)
    if there is None:
        return f'{text}. {how_to_get(leaf, folder)}.'
    longer = suffix.rpartition('.')[0] + there
    other = longer if any(name.endswith(longer) for name in names) else there
    fitting = [name for name in names if name.endswith(other)]
    return (
        f'{text}; {len(fitting):,} end in {other!r}, such as {fitting[0]!r}. If those are the images: '
        f'--cfg-options {leaf.key}.img_suffix={other}'
    )


def _image_cure(leaf: Leaf, dataset: Any, missing: list[str], folders: Folders) -> str:
    suffix = getattr(dataset, 'img_suffix', '') or ''
    other = _other_kind(missing, suffix, folders)
    name = _first_column(missing[0], dataset, folders)
    if name:
        return f'The lines of {dataset.ann_file!r} have columns: write one name a line, such as {name!r}, without columns.'
    if suffix and missing[0].endswith(suffix + suffix):
        return (
            f'The names in {dataset.ann_file!r} end in {suffix!r}, which the loader adds: take it off there.'
        )
    if osp.basename(missing[0]).startswith('\ufeff'):
        return f'{dataset.ann_file!r} begins with a byte-order mark: save it as UTF-8 without one.'
    if suffix and any(osp.basename(path) == suffix for path in missing):
        return f'{dataset.ann_file!r} has empty lines: take them out.'
    if other:
        return (
            f'There are files of the same names with {other!r}: --cfg-options {leaf.key}.img_suffix={other}'
        )
    return f'Take them off the list, or get them. {how_to_get(leaf, missing[0])}.'


def _first_column(path: str, dataset: Any, folders: Folders) -> str:
    """The name that begins a line of columns, such as ``2007_000032 1`` or ``/JPEGImages/x.jpg
    /SegmentationClass/x.png``.

    '' unless the image of that name is there: names with blanks are names.
    """
    suffix, folder = getattr(dataset, 'img_suffix', '') or '', dataset.data_prefix.get('img_path') or ''
    columns = path.removeprefix(folder).removesuffix(suffix).split()
    name = columns[0].lstrip('/') if len(columns) > 1 else ''
    names = (name, osp.basename(name).removesuffix(suffix)) if name else ()
    return next((name for name in names if osp.join(folder, name + suffix) in folders), '')


def _label_cure(leaf: Leaf, paths: list[str], suffix: str, all_of_them: bool, folders: Folders) -> str:
    first, cure = paths[0], cure_of(leaf)
    for kind in KINDS if cure and cure.ending else ():
        stem, right = first.removesuffix(suffix) + kind, kind + cure.ending
        if stem + cure.ending in folders:
            return f'*{right} is there: --cfg-options {leaf.key}.seg_map_suffix={right}'
        sources = [source for source in cure.sources if stem + source in folders]
        if sources:
            also = '' if suffix == right else f' Set --cfg-options {leaf.key}.seg_map_suffix={right}'
            return f'*_{sources[0]} is there: {command_of(leaf)} makes labels of it.{also}'
    other = _other_kind(paths, suffix, folders)
    if other.lower().endswith(('.jpg', '.jpeg')):
        return (
            f'They are there with {other!r}, but JPEG changes the values of labels: write PNG from what the '
            'JPEG files were made of.'
        )
    if other:
        return f'They are there with {other!r}: --cfg-options {leaf.key}.seg_map_suffix={other}'
    names = sorted(name for name in folders.names(osp.dirname(first)) if name.lower().endswith(_IMAGES))
    if all_of_them and names:
        return f'That folder has other names, such as {listed(names, 2)}: set seg_map_suffix to how they end.'
    if all_of_them and cure:
        return f'{how_to_get(leaf, osp.dirname(first))}.'
    return (
        'Put the labels there; or list the images that have one, a name without suffix a line, and name '
        f'that list as {leaf.key}.ann_file.'
    )


def _other_kind(paths: Sequence[str], suffix: str, folders: Folders) -> str:
    """The suffix under which the missing files are there with another extension; '' if they are not."""
    if not suffix:
        return ''
    stem = suffix.rpartition('.')[0]
    others = [stem + kind for image in _IMAGES for kind in (image, image.upper())]
    return next(
        (other for other in others if other != suffix and paths[0].removesuffix(suffix) + other in folders),
        '',
    )
