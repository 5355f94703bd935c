"""Look at a data set of objects whose annotations are one JSON file in COCO's form."""
import json
import os.path as osp
from collections import Counter
from typing import Any

import numpy as np

from .cures import how_to_get
from .findings import NOTE, STOPS, WRONG, listed, share, some
from .leaves import Leaf, owners
from .pairing import Folders
from .problems import say_of_files
from .reading import reading_of
from .scan import Sample
from .splits import Effort, Split

QUICK_BYTES = 2 * 2**20  # a larger JSON takes a quick look longer than a fifth of a second
_NEEDED = dict(images=('id', 'file_name', 'height', 'width'), categories=('id', 'name'),
               annotations=('id', 'image_id', 'category_id', 'bbox', 'area'))


def is_coco(cls: type | None) -> bool:
    """Whether a data set reads its JSON file as mmdet's CocoDataset does."""
    names = [getattr(getattr(cls, part, None), '__qualname__', '') for part in ('load_data_list', 'parse_data_info')]
    return 'mmdet.CocoDataset' in owners(cls) and names == ['CocoDataset.load_data_list', 'CocoDataset.parse_data_info']


def look_at_coco(leaf: Leaf, scope: str | None, effort: Effort) -> Split:
    """Check the annotations of a data set against its classes and its images.

    Args:
        leaf (Leaf): Its place in the config.
        scope (str | None): Registry scope of the config.
        effort (Effort): How much is looked at.
    """
    split = Split(leaf, unit='objects')
    split.classes = tuple(leaf.cls._load_metainfo(leaf.cfg.get('metainfo')).get('classes') or ())
    path = leaf.path(leaf.cfg.get('ann_file') or '')
    if not osp.isfile(path):
        split.say(STOPS, f'ann_file={leaf.cfg.get("ann_file")!r} names no file. {how_to_get(leaf)}.', missing=True)
        return split
    if effort.quick and osp.getsize(path) > QUICK_BYTES:
        return split
    content = _read(split, path)
    if content is None:
        return split
    reading = reading_of(leaf, scope)
    _check_categories(split, path, content['categories'])
    if content['annotations'] is not None:  # those of a test split are not public
        _check_objects(split, path, content, reading.masks)
    folder = leaf.path((leaf.cfg.get('data_prefix') or {}).get('img', ''))
    entries = _kept(leaf, content, split.classes)
    split.images = [osp.join(folder, image['file_name']) for image in entries]
    if not reading.image:
        split.say(NOTE, 'the images are not looked at: the pipeline reads them in a way that is not known here.')
        return split
    folders = Folders()
    missing = [image for image in split.images if image not in folders]
    if missing:
        split.say(WRONG if reading.skips else STOPS,
                  f'{share(len(missing), len(split.images), "images")} of {path!r} missing: {some(missing)}. '
                  f'{how_to_get(leaf, missing[0])}; or name their folder: --cfg-options {leaf.key}.data_prefix.img=DIR',
                  missing=True)
    there = [pair for pair in zip(split.images, entries) if pair[0] in folders]
    chosen = effort.choose(there)
    split.looked, split.sampled = len(chosen), len(chosen) < len(there)
    problems = []
    for seen, (image, entry) in zip(effort.read(leaf.key, [Sample(image) for image, _ in chosen], reading), chosen):
        problems += seen.problems
        if seen.size is not None:
            split.sizes[seen.size] += 1
            said = entry['height'], entry['width']
            if seen.size != said:
                problems.append(('json size', image, f'{seen.size[0]} x {seen.size[1]}, said to be {said[0]} x {said[1]}'))
    say_of_files(split, problems, {'image'} if reading.skips else ())
    return split


def _read(split: Split, path: str) -> dict | None:
    """The JSON file; None, and a finding, where it is not one of COCO's form."""
    with open(path, encoding='utf-8', errors='replace') as file:
        text = file.read()
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        what = 'is cut off' if error.pos >= len(text.rstrip()) - 1 or 'Unterminated' in error.msg else 'is no valid JSON'
        split.say(STOPS, f'{path!r} {what}: {error.msg} at character {error.pos:,} of {len(text):,}. Copy or write it again. '
                  f'{how_to_get(split.leaf, path)}.')
        return None
    lacking = _lacking(content)
    if lacking:
        split.say(STOPS, f"{path!r} is not of COCO's form: {lacking}. Convert the annotations to that form.")
        return None
    return content


def _lacking(content: Any) -> str:
    """What a JSON file lacks of COCO's form, in words; '' if nothing."""
    if not isinstance(content, dict):
        return f'expected an object with {", ".join(_NEEDED)}, got a {type(content).__name__}'
    content.setdefault('annotations', None)
    missing = [name for name in ('images', 'categories') if not isinstance(content.get(name), list)]
    if missing:
        return f'no list of {" and ".join(missing)} (it has {listed(sorted(content))})'
    for name, keys in _NEEDED.items():
        listed_images = {image['id'] for image in content['images']} if name == 'annotations' else ()
        for i, entry in enumerate(content[name] or []):
            if not isinstance(entry, dict):
                return f'{name}[{i}] is {entry!r:.50}, expected an object'
            if name == 'annotations' and 'image_id' in entry and (entry.get('ignore') or entry['image_id'] not in listed_images):
                continue  # mmdet does not look at it
            gone = [key for key in keys if key not in entry]
            if gone:
                return f'{name}[{i}] has no {" and ".join(gone)}'
            if 'bbox' in entry and not _is_numbers(entry['bbox'], 4):
                return f'{name}[{i}].bbox is {entry["bbox"]}, expected [x, y, width, height]'
            if 'area' in entry and not _is_numbers([entry['area']], 1):
                return f'{name}[{i}].area is {entry["area"]!r}, expected a number'
    return ''


def _is_numbers(values: Any, count: int) -> bool:
    return (isinstance(values, list) and len(values) == count
            and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values))


def _kept(leaf: Leaf, content: dict, classes: tuple[str, ...]) -> list[dict]:
    """The images that mmdet reads: it filters them by ``filter_cfg`` and takes those of ``indices``."""
    images, filters, indices = content['images'], leaf.cfg.get('filter_cfg') or {}, leaf.cfg.get('indices')
    if filters and not leaf.cfg.get('test_mode'):
        ids = {category['id'] for category in content['categories'] if category['name'] in classes}
        used = {thing['image_id'] for thing in content['annotations'] or [] if thing.get('category_id') in ids}
        images = [image for image in images if (image['id'] in used or not filters.get('filter_empty_gt', False))
                  and min(image['width'], image['height']) >= filters.get('min_size', 0)]
    if indices is None:
        return images
    if isinstance(indices, int):
        return images[:indices] if indices >= 0 else images[indices:]
    return [images[i] for i in indices]


def _check_categories(split: Split, path: str, categories: list[dict]) -> None:
    """mmdet drops without a word what is in one of classes and categories alone, and numbers the rest in the order of the file."""
    names = [category['name'] for category in categories]
    unnamed, unused = [n for n in names if n not in split.classes], [c for c in split.classes if c not in names]
    shared = [name for name in names if name in split.classes]
    split.used = len(shared)
    cure = f'Name the categories of the file as classes, in their order: {split.leaf.key}.metainfo=dict(classes=(...)).'
    if not shared:
        level = STOPS if split.leaf.split == 'train' else WRONG
        split.say(level, f'no category of {path!r} is a class, so no object is read: the file has {listed(names)}, the classes are '
                  f'{listed(split.classes)}. {cure}')
    elif unused:
        split.say(WRONG, f'{path!r} has no categories of the name {listed(unused)}, which {split.leaf.name} has as classes'
                  + (f'; it has {listed(unnamed)} besides, whose objects are left out' if unnamed else '')
                  + f'. mmdet numbers without gaps, so labels stand for other names. {cure}')
    elif unnamed:
        split.say(NOTE, f'the objects of {len(unnamed)} categories that are no classes are left out: {listed(unnamed)}. To have '
                  f'them, name them in {split.leaf.key}.metainfo.')
    if shared and shared != [name for name in split.classes if name in names]:
        split.say(WRONG, f'the categories of {path!r} stand in another order, {listed(shared)}, than the classes, and mmdet '
                  f'numbers labels in that order. {cure}')


def _check_objects(split: Split, path: str, content: dict, masks: bool) -> None:
    """Identities, boxes and images of the annotations; counts the objects of each class as mmdet takes them."""
    objects = [thing for thing in content['annotations'] if not thing.get('ignore')]  # nor does mmdet look at the others
    images = {image['id']: image for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    number = {name: i for i, name in enumerate(split.classes)}
    split.counts, split.with_class = (np.zeros(len(split.classes), np.int64) for _ in range(2))
    faults: dict[str, list[tuple[str, str]]] = {}
    containing = set()
    for thing in objects:
        image, name = images.get(thing['image_id']), names.get(thing.get('category_id'))
        fault = _fault(thing, image, name, masks and name in number)
        if fault:
            found = f'{fault}_id {thing[f"{fault}_id"]}' if fault in ('image', 'category') else f'bbox {thing["bbox"]}'
            faults.setdefault(fault, []).append((f'annotation {thing.get("id")}', found))
        if fault in ('', 'beyond', 'mask') and name in number and not thing.get('iscrowd'):
            split.counts[number[name]] += 1
            containing.add((thing['image_id'], number[name]))
    split.with_class += np.bincount([i for _, i in containing], minlength=len(split.classes))
    for fault, found in faults.items():
        text, level, cure = _FAULTS[fault]
        split.say(level, f'{share(len(found), len(objects), "annotations")} of {path!r} {text}: {some(found)}. {cure}'.rstrip())
    twice = [str(i) for i, times in Counter(thing.get('id') for thing in objects).items() if times > 1]
    if twice and getattr(split.leaf.cls, 'ANN_ID_UNIQUE', True):
        split.say(STOPS, f'{path!r} has annotations with the same id: {some(twice)}. Number them anew.')
    split.labels = len({thing['image_id'] for thing in objects} & set(images))
    _say_what_is_empty(split, path, len(images) - split.labels)


def _fault(thing: dict, image: dict | None, name: str | None, masked: bool) -> str:
    """A key of ``_FAULTS``; '' where there is none."""
    if image is None:
        return 'image'
    if name is None:
        return 'category'
    x, y, width, height = thing['bbox']
    inside = min(x + width, image['width']) > max(x, 0) and min(y + height, image['height']) > max(y, 0)
    if not inside or width < 1 or height < 1 or thing['area'] <= 0:
        return 'box'
    if masked and not thing.get('segmentation'):
        return 'mask'
    return 'beyond' if x + width > image['width'] + 1 or y + height > image['height'] + 1 else ''


def _say_what_is_empty(split: Split, path: str, empty: int) -> None:
    if empty:
        filters = (split.leaf.cfg.get('filter_cfg') or {}).get('filter_empty_gt', False) and not split.leaf.cfg.get('test_mode')
        use = 'filter_empty_gt=True leaves them out' if filters else 'they are read as images without objects'
        split.say(NOTE, f'{share(empty, empty + split.labels, "images")} without an annotation; {use}.')
    if split.used and not split.counts.any():
        split.say(WRONG, f'{path!r} has no object of any class.')


# Of single annotations: what is said, how bad it is, and the cure.
_FAULTS = dict(
    image=('of images that the file does not have', WRONG, 'Take them out, or add the images.'),
    category=('with a category that the file does not have', WRONG, 'Add it to its categories, or take them out.'),
    box=('with a box of no size or outside of the image, which mmdet leaves out', NOTE, ''),
    beyond=('with a box that reaches beyond the image by more than a pixel', NOTE,
            "COCO's boxes are x, y, width, height: are these x1, y1, x2, y2?"),
    mask=('without a segmentation, which the pipeline reads (with_mask=True)', STOPS,
          'Set with_mask=False for a network of boxes, or add the masks.'))
