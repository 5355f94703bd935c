"""Look at a data set of objects whose annotations are one JSON file in COCO's form."""

import contextlib
import io
import json
import os.path as osp
from typing import Any

import numpy as np

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, EntryReport, first_files, part_of
from kd_methods.data_check.pairing import pair
from kd_methods.data_check.pipeline import build_without_pipeline
from kd_methods.data_check.recipes import hint_missing
from kd_methods.data_check.scan import Sample
from kd_methods.datasets.entries import owners
from kd_methods.utils.errors import describe_error
from kd_methods.utils.text import first_few

QUICK_BYTES = 2 * 2**20  # a larger JSON takes a quick look longer than a fifth of a second

# Of single annotations: what is said, how bad it is, and the cure.
_FAULTS = dict(
    image_id=('of images that the file does not have', WRONG, 'Take them out, or add the images.'),
    category_id=('with a category that the file does not have', WRONG, 'Add it, or take them out.'),
    bbox=('with a box beyond the image', NOTE, 'Boxes are x, y, width, height: are these x1, y1, x2, y2?'),
    segmentation=('without a segmentation that the pipeline reads', STOPS, 'Set with_mask=False or add it.'),
)


def is_coco(cls: type | None) -> bool:
    """Whether a data set reads its JSON file as mmdet's CocoDataset does."""
    methods = [getattr(cls, name, None) for name in ('load_data_list', 'parse_data_info')]
    own = all(getattr(m, '__qualname__', '').startswith('CocoDataset.') for m in methods)
    return own and 'mmdet.CocoDataset' in owners(cls)


def look_at_coco(report: EntryReport) -> None:
    """Check the annotations of a data set against its classes and its images."""
    entry, report.unit = report.entry, 'objects'
    path = entry.path(entry.cfg.get('ann_file') or '')
    if not osp.isfile(path):
        text = f'ann_file={entry.cfg.get("ann_file")!r} names no file. {hint_missing(entry)}.'
        report.say(STOPS, text, missing=True)
        return
    if report.budget.quick and osp.getsize(path) > QUICK_BYTES:
        return
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks
            dataset = build_without_pipeline(entry, report.scope)
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        report.take_classes(dataset.metainfo.get('classes'))
        _check_categories(report, path, [category['name'] for category in content['categories']])
        _check_annotations(report, path, content)
    except (AssertionError, LookupError, TypeError, ValueError, AttributeError) as error:
        text = f"{path!r} cannot be read, or is not of COCO's form ({describe_error(error)})"
        cure = f'Copy or convert the annotations again. {hint_missing(entry, path)}'
        report.say(STOPS, f'{text}. {cure}.')
        return
    images = [dataset.get_data_info(i) for i in range(len(dataset))]
    report.images = [image['img_path'] for image in images]
    if not images:
        options = {name: entry.cfg.get(name) for name in ('filter_cfg', 'indices') if name in entry.cfg}
        text = f'no image of {path!r} is read: of {len(content["images"]):,}, {options} leave none. They need'
        cure = f'to read all images: --cfg-options {entry.key}.filter_cfg=None'
        report.say(STOPS, f'{text} objects of a class; {cure}')
        return
    if 'annotations' in content:  # those of a test split are not public
        objects = [[box for box in image['instances'] if not box['ignore_flag']] for image in images]
        labels = [[box['bbox_label'] for box in boxes] for boxes in objects]
        counts = np.array([np.bincount(of_image, minlength=len(report.classes)) for of_image in labels])
        report.counts, report.with_class = counts.sum(0), (counts > 0).sum(0)  # images x classes -> classes
        if report.used and not counts.any():
            report.say(WRONG, f'{path!r} has no object of any class.')
    if report.info.image:
        _check_images(report, dataset, {image['img_path']: image for image in images})
    else:
        report.say(NOTE, 'the images are not looked at: it is not known here how the pipeline reads them.')


def _check_categories(report: EntryReport, path: str, names: list[str]) -> None:
    """Compare the categories of a file with the classes."""
    # mmdet silently drops what is in one of the two alone, and numbers the rest in the order of the file.
    shared = [name for name in names if name in report.classes]
    unnamed = [name for name in names if name not in report.classes]
    report.used = len(shared)
    named, classes = first_few(names, 10), first_few(report.classes, 10)
    text = f'the categories of {path!r} are {named}, the classes {classes}'
    cure = f'Name the categories as classes, in their order: {report.entry.key}.metainfo=dict(classes=(...)).'
    if not shared:
        level = STOPS if report.entry.split == 'train' else WRONG
        report.say(level, f'{text}: no category is a class, so no object is read. {cure}')
    elif shared != list(report.classes):
        numbers = 'mmdet numbers those in both, in the order of the file and without gaps'
        report.say(WRONG, f'{text}. {numbers}, so that labels stand for other names. {cure}')
    elif unnamed:
        report.say(NOTE, f'objects of categories that are no classes are left out: {first_few(unnamed, 10)}.')


def _check_annotations(report: EntryReport, path: str, content: dict) -> None:
    """Images, categories, boxes and masks of the annotations that mmdet looks at."""
    objects = [thing for thing in content.get('annotations', []) if not thing.get('ignore')]
    images = {image['id']: image for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    faults: dict[str, list[tuple[str, str]]] = {}
    for thing in objects:
        image, name = images.get(thing['image_id']), names.get(thing['category_id'])
        if image is None or name is None:
            fault = 'category_id' if image else 'image_id'
        else:
            x, y, width, height = thing['bbox']
            beyond = x + width > image['width'] + 1 or y + height > image['height'] + 1
            unmasked = report.info.masks and name in report.classes and not thing.get('segmentation')
            fault = 'segmentation' if unmasked else 'bbox' if beyond else ''
        if fault:
            found = f'{fault} {thing.get(fault)}'
            faults.setdefault(fault, []).append((f'annotation {thing["id"]}', found))
    for fault, found in faults.items():
        text, level, cure = _FAULTS[fault]
        part = part_of(len(found), len(objects), 'annotations')
        report.say(level, f'{part} of {path!r} {text}: {first_files(found)}. {cure}')
    report.labels = len({thing['image_id'] for thing in objects} & set(images))
    empty = len(images) - report.labels
    if empty and 'annotations' in content:
        report.say(NOTE, f'{part_of(empty, len(images), "images")} without an annotation.')


def _check_images(report: EntryReport, dataset: Any, images: dict[str, dict]) -> None:
    """The files of the images: whether they are there and can be read, and their sizes."""
    problems = []
    for sample, seen in report.read(pair(report, dataset, [Sample(path) for path in images])):
        problems += seen.problems
        said = images[sample.image]['height'], images[sample.image]['width']
        if seen.size not in (None, said):
            what = '{} x {}, said to be {} x {}'.format(*seen.size, *said)
            problems.append(('json size', sample.image, what))
    report.say_of_files(problems)
