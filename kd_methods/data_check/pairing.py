"""Which files of a segmentation data set are there, and which belong together."""

import os
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from typing import Any

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, EntryReport, first_files, part_of
from kd_methods.data_check.recipes import KINDS, command_of, hint_missing, recipe_of
from kd_methods.data_check.scan import Sample
from kd_methods.datasets.entries import Entry
from kd_methods.utils.text import first_few

_IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')


class Folders(dict):
    """Names of the files in each folder, which is listed once; none in one that cannot be listed."""

    def __missing__(self, folder: str) -> set[str]:
        try:
            self[folder] = set(os.listdir(folder or '.'))
        except OSError:
            self[folder] = set()
        return self[folder]

    def has(self, path: str) -> bool:
        """Whether there is a file, also in a folder that cannot be listed."""
        folder, name = osp.split(path)
        return name in self[folder] or osp.exists(path)


def pair(report: EntryReport, dataset: Any, samples: Sequence[Sample], skips: bool = False) -> list[Sample]:
    """The samples whose files are there; of the others, sentences.

    Args:
        report (EntryReport): Gets the sentences.
        dataset (Any): The data set, built.
        samples (Sequence[Sample]): What it lists.
        skips (bool): The loader passes over images that are missing. Defaults to False.
    """
    entry, folders, count = report.entry, Folders(), len(samples)
    if not samples:
        report.say(STOPS, f'{entry.name} has no image: {_why_empty(entry, dataset)}')
    there = [s for s in samples if s.image is None or folders.has(s.image)]
    no_image = [s.image for s in samples if s.image is not None and not folders.has(s.image)]
    if no_image:
        part = part_of(len(no_image), count, 'listed images')
        report.say(
            WRONG if skips else STOPS,
            f'{part} missing: {first_files(no_image)}. {_image_cure(entry, dataset, no_image[0], folders)}',
            missing=True,
        )
    no_label = [s for s in there if s.label is not None and not folders.has(s.label)]
    if no_label:
        part, first = part_of(len(no_label), count, 'images'), no_label[0].label
        suffix = getattr(dataset, 'seg_map_suffix', '') or ''
        cure = _label_cure(entry, first, suffix, len(no_label) == count, folders)
        images = first_files([s.image or s.label for s in no_label])
        text = f'{part} without a label file: {images}. No {first!r} (seg_map_suffix={suffix!r}). {cure}'
        report.say(STOPS, text, missing=True)
    return [s for s in there if s.label is None or folders.has(s.label)]


def find_labels_alone(report: EntryReport, dataset: Any) -> None:
    """A note where label files have no image, which a loader silently passes over."""
    prefix, suffix = dataset.data_prefix, getattr(dataset, 'seg_map_suffix', None)
    images, labels = prefix.get('img_path'), prefix.get('seg_map_path')
    if not images or not labels or not suffix or osp.realpath(images) == osp.realpath(labels):
        return
    alone, folders = [], Folders()
    for folder, _, names in os.walk(labels):
        above = osp.join(images, osp.relpath(folder, labels))
        for name in sorted(name for name in names if name.endswith(suffix)):
            if not folders.has(osp.normpath(osp.join(above, name.removesuffix(suffix) + dataset.img_suffix))):
                alone.append(osp.join(folder, name))
    if alone:
        report.say(
            NOTE,
            f'not read, as there is no image: {len(alone):,} label files, {first_files(alone)}. An image is '
            f'expected in {images!r} under the same name with {dataset.img_suffix!r}.',
        )


def shared_images(first: EntryReport, second: EntryReport) -> None:
    """A note where a file is an image of two data sets."""
    both = sorted(set(map(osp.normpath, first.images)) & set(map(osp.normpath, second.images)))
    if both:
        part = part_of(len(both), len(second.images), 'images')
        text = f'{part} of {first.entry.key} too: {first_files(both)}.'
        second.say(NOTE, f'{text} What is measured on images of the training tells little.')


def _why_empty(entry: Entry, dataset: Any) -> str:
    """An empty list, an empty folder, or files of another suffix."""
    listing, suffix = getattr(dataset, 'ann_file', ''), getattr(dataset, 'img_suffix', '')
    if listing and osp.isfile(listing):
        return f'the list {listing!r} is empty. {hint_missing(entry, listing)}.'
    folder = dataset.data_prefix.get('img_path', '')
    names = sorted(name for _, _, files in os.walk(folder) for name in files)
    text = f'no file in {folder!r} ends in {suffix!r} (img_suffix)'
    kinds = Counter(kind for kind in (osp.splitext(name)[1] for name in names) if kind.lower() in _IMAGES)
    if not kinds:
        return f'{text}. {hint_missing(entry, folder)}.'
    kind = kinds.most_common(1)[0][0]
    stem = suffix.rpartition('.')[0]
    other = stem + kind if any(name.endswith(stem + kind) for name in names) else kind
    fitting = [name for name in names if name.endswith(other)]
    return (
        f'{text}; {len(fitting):,} end in {other!r}, such as {fitting[0]!r}. If those are the images: '
        f'--cfg-options {entry.key}.img_suffix={other}'
    )


def _image_cure(entry: Entry, dataset: Any, first: str, folders: Folders) -> str:
    other = _other_suffix(first, getattr(dataset, 'img_suffix', '') or '', folders)
    if other:
        same = f'There are files of the same names with {other!r}'
        return f'{same}: --cfg-options {entry.key}.img_suffix={other}'
    listing = getattr(dataset, 'ann_file', '')
    form = f'See that each line of {listing!r} is a name without suffix. ' if listing else ''
    return f'{form}Take them off the list, or get them. {hint_missing(entry, first)}.'


def _label_cure(entry: Entry, first: str, suffix: str, all_of_them: bool, folders: Folders) -> str:
    recipe = recipe_of(entry)
    for kind in KINDS if recipe and recipe.ending else ():
        stem, right = first.removesuffix(suffix) + kind, kind + recipe.ending
        setting = f'--cfg-options {entry.key}.seg_map_suffix={right}'
        if folders.has(stem + recipe.ending):
            return f'*{right} is there: {setting}'
        source = next((source for source in recipe.sources if folders.has(stem + source)), '')
        if source:
            also = '' if suffix == right else f' Set {setting}'
            return f'*_{source} is there: {command_of(entry)} makes labels of it.{also}'
    other = _other_suffix(first, suffix, folders)
    if other:
        jpeg = 'but JPEG changes the values of labels: write PNG from what the JPEG files were made of.'
        setting = f'--cfg-options {entry.key}.seg_map_suffix={other}'
        lossy = other.lower().endswith(('.jpg', '.jpeg'))
        return (
            f'They are there with {other!r}, {jpeg}' if lossy else f'They are there with {other!r}: {setting}'
        )
    names = sorted(name for name in folders[osp.dirname(first)] if name.lower().endswith(_IMAGES))
    if all_of_them and names:
        return f'That folder has other names, such as {first_few(names, 2)}: set seg_map_suffix.'
    if all_of_them and recipe:
        return f'{hint_missing(entry, osp.dirname(first))}.'
    return (
        'Put the labels there; or list the images that have one, a name without suffix a line, and name '
        f'that list as {entry.key}.ann_file.'
    )


def _other_suffix(path: str, suffix: str, folders: Folders) -> str:
    """The suffix under which a missing file is there with another extension; '' if it is not."""
    stem = suffix.rpartition('.')[0]
    others = [stem + kind for image in _IMAGES for kind in (image, image.upper()) if stem + kind != suffix]
    return next((other for other in others if suffix and folders.has(path.removesuffix(suffix) + other)), '')
