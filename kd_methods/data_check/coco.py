"""Look at a data set of objects whose annotations are one JSON file in COCO's form."""

import os.path as osp
from collections.abc import Sequence

import numpy as np

from kd_methods.data_check.coco_entries import read_coco, repeated
from kd_methods.data_check.findings import NOTE, STOPS, WRONG, listed, share, some
from kd_methods.data_check.pairing import Folders
from kd_methods.data_check.pipeline import reading_of
from kd_methods.data_check.problems import say_of_files
from kd_methods.data_check.recipes import how_to_get
from kd_methods.data_check.scan import Sample
from kd_methods.data_check.splits import Effort, Split
from kd_methods.datasets.entries import Leaf, kind_of, owners

QUICK_BYTES = 2 * 2**20  # a larger JSON takes a quick look longer than a fifth of a second


def is_coco(cls: type | None) -> bool:
    """Whether a data set reads its JSON file as mmdet's CocoDataset does."""
    names = [
        getattr(getattr(cls, part, None), '__qualname__', '')
        for part in ('load_data_list', 'parse_data_info')
    ]
    return 'mmdet.CocoDataset' in owners(cls) and names == [
        'CocoDataset.load_data_list',
        'CocoDataset.parse_data_info',
    ]


def look_at_coco(leaf: Leaf, scope: str | None, effort: Effort, metrics: Sequence[dict]) -> Split:
    """Check the annotations of a data set against its classes and its images.

    Args:
        leaf (Leaf): Its place in the config.
        scope (str | None): Registry scope of the config.
        effort (Effort): How much is looked at.
        metrics (Sequence[dict]): Configs of the metrics of its split.
    """
    split = Split(leaf, unit='objects')
    split.classes = _classes(split)
    path = leaf.path(leaf.cfg.get('ann_file') or '')
    if not osp.isfile(path):
        split.say(
            STOPS, f'ann_file={leaf.cfg.get("ann_file")!r} names no file. {how_to_get(leaf)}.', missing=True
        )
        return split
    if effort.quick and osp.getsize(path) > QUICK_BYTES:
        return split
    content = read_coco(split, path)
    if content is None:
        return split
    reading = reading_of(leaf, scope)
    _check_ids(split, path, content)
    _check_categories(split, path, content['categories'])
    if content['annotations'] is not None:  # those of a test split are not public
        _check_objects(split, path, content, reading.masks)
        _check_crowds(split, path, content, metrics)
    folder = leaf.path((leaf.cfg.get('data_prefix') or {}).get('img', ''))
    entries = _kept(leaf, content, split.classes)
    if not entries:
        split.say(STOPS, f'no image of {path!r} is read: {_why_none(leaf, content["images"])}')
        return split
    split.images = [osp.join(folder, image['file_name']) for image in entries]
    if not reading.image:
        split.say(
            NOTE, 'the images are not looked at: the pipeline reads them in a way that is not known here.'
        )
        return split
    folders = Folders()
    missing = [image for image in split.images if image not in folders]
    if missing:
        split.say(
            WRONG if reading.skips else STOPS,
            f'{share(len(missing), len(split.images), "images")} of {path!r} missing: {some(missing)}. '
            f'{how_to_get(leaf, missing[0])}; or name their folder: --cfg-options '
            f'{leaf.key}.data_prefix.img=DIR',
            missing=True,
        )
    there = [pair for pair in zip(split.images, entries) if pair[0] in folders]
    chosen = effort.choose(there)
    split.looked, split.sampled = len(chosen), len(chosen) < len(there)
    problems = []
    for seen, (image, entry) in zip(
        effort.read(leaf.key, [Sample(image) for image, _ in chosen], reading), chosen
    ):
        problems += seen.problems
        if seen.size is not None:
            split.sizes[seen.size] += 1
            said = entry['height'], entry['width']
            if seen.size != said:
                problems.append(
                    ('json size', image, f'{seen.size[0]} x {seen.size[1]}, said to be {said[0]} x {said[1]}')
                )
    say_of_files(split, problems, {'image'} if reading.skips else ())
    return split


def _classes(split: Split) -> tuple[str, ...]:
    classes = split.leaf.cls._load_metainfo(split.leaf.cfg.get('metainfo')).get('classes') or ()
    if isinstance(classes, str):
        split.say(
            WRONG,
            f'metainfo.classes={classes!r} is a text: mmdet reads the objects of that one class, and takes '
            f'its letters for names of classes elsewhere. Write classes=({classes!r},).',
        )
        return (classes,)
    return tuple(classes)


def _check_ids(split: Split, path: str, content: dict) -> None:
    """Identities of images and categories; of images with the same one, only that which mmdet reads is kept."""
    for name in ('images', 'categories'):
        twice = repeated(content[name])
        if twice:
            split.say(
                WRONG,
                f'{path!r} has {name} with the same id, which mmdet takes for one: {some(twice)}. Number '
                'them anew, and what the annotations say of them.',
            )
    content['images'] = list({image['id']: image for image in content['images']}.values())


def _ids_of(classes: tuple[str, ...], content: dict) -> set:
    """The ids of the categories that are classes."""
    return {category['id'] for category in content['categories'] if category['name'] in classes}


def _kept(leaf: Leaf, content: dict, classes: tuple[str, ...]) -> list[dict]:
    """The images that mmdet reads: it filters them by ``filter_cfg`` and takes those of ``indices``."""
    images, filters, indices = content['images'], leaf.cfg.get('filter_cfg') or {}, leaf.cfg.get('indices')
    if not leaf.cfg.get('test_mode'):
        ids = _ids_of(classes, content)
        used = {thing['image_id'] for thing in content['annotations'] or [] if thing['category_id'] in ids}
        images = [
            image
            for image in images
            if (image['id'] in used or not filters.get('filter_empty_gt', False))
            and min(image['width'], image['height']) >= filters.get('min_size', 0)
        ]
    if indices is None or not images:
        return images
    if isinstance(indices, int):
        return images[:indices] if indices >= 0 else images[indices:]
    return [images[i] for i in indices]


def _why_none(leaf: Leaf, images: list[dict]) -> str:
    """Why no image is read, and the cure."""
    filters, indices = leaf.cfg.get('filter_cfg') or {}, leaf.cfg.get('indices')
    if not images:
        return 'it lists none. Convert the annotations again.'
    if indices is not None and not indices:
        return f'indices={indices!r} takes none. Leave it out.'
    side = max(min(image['width'], image['height']) for image in images)
    if side < filters.get('min_size', 0):
        return (
            f'filter_cfg.min_size={filters["min_size"]}, but their shorter sides have {side} pixels at '
            f'most. Take smaller ones too: --cfg-options {leaf.key}.filter_cfg.min_size={side}'
        )
    return (
        f'filter_cfg={dict(filters)} leaves out all {len(images):,}, for want of objects of a class. Give '
        'the annotations the ids of the categories, and the categories the names of the classes. To read '
        f'images without objects: --cfg-options {leaf.key}.filter_cfg.filter_empty_gt=False'
    )


def _check_categories(split: Split, path: str, categories: list[dict]) -> None:
    """mmdet drops without a word what is in one of classes and categories alone, and numbers the rest in the
    order of the file.
    """
    names = [category['name'] for category in categories]
    unnamed, unused = (
        [n for n in names if n not in split.classes],
        [c for c in split.classes if c not in names],
    )
    shared = [name for name in names if name in split.classes]
    split.used = len(shared)
    cure = f'Name the categories of the file as classes, in their order: {split.leaf.key}.metainfo=dict(classes=(...)).'
    if not shared:
        level = STOPS if split.leaf.split == 'train' else WRONG
        split.say(
            level,
            f'no category of {path!r} is a class, so no object is read: the file has {listed(names)}, the '
            f'classes are {listed(split.classes)}. {cure}',
        )
    elif unused:
        split.say(
            WRONG,
            f'{path!r} has no categories of the name {listed(unused)}, which {split.leaf.name} has as classes'
            + (f'; it has {listed(unnamed)} besides, whose objects are left out' if unnamed else '')
            + f'. mmdet numbers without gaps, so labels stand for other names. {cure}',
        )
    elif unnamed:
        split.say(
            NOTE,
            f'the objects of {len(unnamed)} categories that are no classes are left out: {listed(unnamed)}. '
            f'To have them, name them in {split.leaf.key}.metainfo.',
        )
    if shared and shared != [name for name in split.classes if name in names]:
        split.say(
            WRONG,
            f'the categories of {path!r} stand in another order, {listed(shared)}, than the classes, and '
            f'mmdet numbers labels in that order. {cure}',
        )


def _check_objects(split: Split, path: str, content: dict, masks: bool) -> None:
    """Identities, boxes and images of the annotations; counts the objects of each class as mmdet takes them."""
    objects = [
        thing for thing in content['annotations'] if not thing.get('ignore')
    ]  # nor does mmdet look at the others
    images = {image['id']: image for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    number = {name: i for i, name in enumerate(split.classes)}
    split.counts, split.with_class = (np.zeros(len(split.classes), np.int64) for _ in range(2))
    faults: dict[str, list[tuple[str, str]]] = {}
    containing = set()
    for thing in objects:
        image, name = images.get(thing['image_id']), names.get(thing['category_id'])
        fault = _fault(thing, image, name, masks and name in number)
        if fault:
            found = (
                f'{fault}_id {thing[f"{fault}_id"]}'
                if fault in ('image', 'category')
                else f'bbox {thing["bbox"]}'
            )
            faults.setdefault(fault, []).append((f'annotation {thing["id"]}', found))
        if fault in ('', 'beyond', 'mask') and name in number and not thing.get('iscrowd'):
            split.counts[number[name]] += 1
            containing.add((thing['image_id'], number[name]))
    split.with_class += np.bincount([i for _, i in containing], minlength=len(split.classes))
    for fault, found in faults.items():
        text, level, cure = _FAULTS[fault]
        split.say(
            level,
            f'{share(len(found), len(objects), "annotations")} of {path!r} {text}: {some(found)}. {cure}'.rstrip(),
        )
    twice = repeated(thing for thing in content['annotations'] if thing['image_id'] in images)
    if twice and getattr(split.leaf.cls, 'ANN_ID_UNIQUE', True):
        split.say(STOPS, f'{path!r} has annotations with the same id: {some(twice)}. Number them anew.')
    split.labels = len({thing['image_id'] for thing in objects} & set(images))
    _say_what_is_empty(split, path, len(images) - split.labels)


def _check_crowds(split: Split, path: str, content: dict, metrics: Sequence[dict]) -> None:
    """Training does without ``iscrowd``, the metric of COCO does not."""
    if not any(
        kind_of(metric) == 'CocoMetric'
        and metric.get('ann_file')
        and not metric.get('format_only')
        and osp.realpath(metric['ann_file']) == osp.realpath(path)
        for metric in metrics
    ):
        return
    images = {image['id'] for image in content['images']}
    kinds = _ids_of(split.classes, content)
    without = [
        f'annotation {thing["id"]}'
        for thing in content['annotations']
        if thing.get('iscrowd') is None and thing['image_id'] in images and thing['category_id'] in kinds
    ]
    if without:
        split.say(
            STOPS,
            f'{share(len(without), len(content["annotations"]), "annotations")} of {path!r} without '
            f'iscrowd, which CocoMetric reads ({split.leaf.split}_evaluator): {some(without)}. Give each '
            'iscrowd=0, a box around many 1.',
        )


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
        filters = (split.leaf.cfg.get('filter_cfg') or {}).get(
            'filter_empty_gt', False
        ) and not split.leaf.cfg.get('test_mode')
        use = 'filter_empty_gt=True leaves them out' if filters else 'they are read as images without objects'
        split.say(NOTE, f'{share(empty, empty + split.labels, "images")} without an annotation; {use}.')
    if split.used and not split.counts.any():
        split.say(WRONG, f'{path!r} has no object of any class.')


# Of single annotations: what is said, how bad it is, and the cure.
_FAULTS = dict(
    image=('of images that the file does not have', WRONG, 'Take them out, or add the images.'),
    category=(
        'with a category that the file does not have',
        WRONG,
        'Add it to its categories, or take them out.',
    ),
    box=('with a box of no size or outside of the image, which mmdet leaves out', NOTE, ''),
    beyond=(
        'with a box that reaches beyond the image by more than a pixel',
        NOTE,
        "COCO's boxes are x, y, width, height: are these x1, y1, x2, y2?",
    ),
    mask=(
        'without a segmentation, which the pipeline reads (with_mask=True)',
        STOPS,
        'Set with_mask=False for a network of boxes, or add the masks.',
    ),
)
