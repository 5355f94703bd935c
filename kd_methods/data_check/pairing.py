"""Which files of a data set are there, and which belong together."""

import os
import os.path as osp
from collections.abc import Sequence
from typing import Any

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, EntryReport, first_files, part_of
from kd_methods.data_check.recipes import KINDS, command_of, hint_missing, recipe_of
from kd_methods.data_check.scan import Sample
from kd_methods.datasets.entries import Entry

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

    def other_suffix(self, path: str, suffix: str) -> str:
        """The suffix under which a missing file is there with another extension; '' if it is not."""
        stem, kinds = suffix.rpartition('.')[0], (*_IMAGES, *map(str.upper, _IMAGES))
        others = [stem + kind for kind in kinds if suffix not in ('', stem + kind)]
        return next((other for other in others if self.has(path.removesuffix(suffix) + other)), '')


def pair(report: EntryReport, dataset: Any, samples: Sequence[Sample]) -> list[Sample]:
    """The samples whose files are there; the report gets sentences on the others."""
    folders, count = Folders(), len(samples)
    if not samples:
        report.say(STOPS, f'{report.entry.name} has no image: {_why_empty(report.entry, dataset)}')
    there = [s for s in samples if s.image is None or folders.has(s.image)]
    missing = [s.image for s in samples if s.image is not None and not folders.has(s.image)]
    if missing:
        level, part = WRONG if report.info.skips else STOPS, part_of(len(missing), count, 'listed images')
        cure = _image_cure(report, dataset, missing, folders)
        report.say(level, f'{part} missing: {first_files(missing)}. {cure}', missing=True)
    alone = [s for s in there if s.label is not None and not folders.has(s.label)]
    if alone:
        part, suffix = part_of(len(alone), count, 'images'), getattr(dataset, 'seg_map_suffix', None) or ''
        cure = _label_cure(report.entry, alone[0].label, suffix, folders, len(alone) == count)
        files = f'{first_files([s.image or s.label for s in alone])}. No {alone[0].label!r}'
        report.say(STOPS, f'{part} without a label file: {files} (seg_map_suffix={suffix!r}). {cure}', True)
    return [s for s in there if s.label is None or folders.has(s.label)]


def find_labels_alone(report: EntryReport, dataset: Any) -> None:
    """A note where label files have no image, which a loader silently passes over."""
    prefix, suffix = dataset.data_prefix, getattr(dataset, 'seg_map_suffix', None)
    images, labels = prefix.get('img_path'), prefix.get('seg_map_path')
    if not images or not labels or not suffix or osp.realpath(images) == osp.realpath(labels):
        return
    alone, folders = [], Folders()
    for folder, _, names in os.walk(labels):
        above = osp.normpath(osp.join(images, osp.relpath(folder, labels)))
        for name in sorted(name for name in names if name.endswith(suffix)):
            if not folders.has(osp.join(above, name.removesuffix(suffix) + dataset.img_suffix)):
                alone.append(osp.join(folder, name))
    if alone:
        files = f'{len(alone):,} label files, {first_files(alone)}'
        report.say(NOTE, f'not read, as there is no image of that name in {images!r}: {files}.')


def _why_empty(entry: Entry, dataset: Any) -> str:
    """An empty list, an empty folder, or files of another suffix."""
    listing, suffix = getattr(dataset, 'ann_file', ''), getattr(dataset, 'img_suffix', '')
    if listing and osp.isfile(listing):
        return f'the list {listing!r} is empty. {hint_missing(entry, listing)}.'
    folder = dataset.data_prefix.get('img_path', '')
    names = (name for _, _, files in os.walk(folder) for name in files)
    others = sorted(name for name in names if name.lower().endswith(_IMAGES))
    text = f'no file in {folder!r} ends in {suffix!r} (img_suffix)'
    if not others:
        return f'{text}. {hint_missing(entry, folder)}.'
    kind = osp.splitext(others[0])[1]
    found = f'{sum(name.endswith(kind) for name in others):,} end in {kind!r}, such as {others[0]!r}'
    return f'{text}; {found}. If those are the images: --cfg-options {entry.key}.img_suffix={kind}'


def _image_cure(report: EntryReport, dataset: Any, missing: list[str], folders: Folders) -> str:
    other = folders.other_suffix(missing[0], getattr(dataset, 'img_suffix', None) or '')
    if other:
        there = f'There are files of the same names with {other!r}'
        return f'{there}: --cfg-options {report.entry.key}.img_suffix={other}'
    hint, listing = hint_missing(report.entry, missing[0]), getattr(dataset, 'ann_file', '')
    if report.unit == 'objects':
        return f'{hint}; or name their folder: --cfg-options {report.entry.key}.data_prefix.img=DIR'
    form = f'Each line of {listing!r} has to be a name without suffix. ' if listing else ''
    return f'{form}Take them off the list, or get them. {hint}.'


def _label_cure(entry: Entry, path: str, suffix: str, folders: Folders, all_missing: bool) -> str:
    recipe, option = recipe_of(entry), f'--cfg-options {entry.key}.seg_map_suffix='
    for kind in KINDS if recipe and recipe.ending else ():
        stem, right = path.removesuffix(suffix) + kind, kind + recipe.ending
        if folders.has(stem + recipe.ending):
            return f'*{right} is there: {option}{right}'
        source = next((source for source in recipe.sources if folders.has(stem + source)), '')
        if source:
            also = '' if suffix == right else f' Set {option}{right}'
            return f'*_{source} is there: {command_of(entry)} makes labels of it.{also}'
    other = folders.other_suffix(path, suffix)
    if other.lower().endswith(('.jpg', '.jpeg')):
        return f'They are there with {other!r}, but JPEG changes the values: write PNG from their source.'
    if other:
        return f'They are there with {other!r}: {option}{other}'
    folder = osp.dirname(path)
    if not folders[folder] and recipe:
        return f'{hint_missing(entry, folder)}.'
    names = sorted(name for name in folders[folder] if name.lower().endswith(_IMAGES))
    if names and all_missing:
        return f'That folder has other names, such as {names[0]}: set seg_map_suffix to how they end.'
    cure = f'a name without suffix a line, and name that list as {entry.key}.ann_file'
    return f'Put the labels there; or list the images that have one, {cure}.'
