"""A small COCO out of the whole one, for quick trials. Neither mmdet nor mmseg has a tool for that."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kd_methods.convert.base import LISTED, check_folder, read_file
from kd_methods.convert.inside import check_inside, check_names
from kd_methods.utils.files import exclusive_folder, link_or_copy, write_file
from kd_methods.utils.manifest import matches_manifest
from kd_methods.utils.text import did_you_mean, first_few

SPLITS = ('train', 'val')
RECORD = 'coco_subset.json'  # a directory with it is complete
STARTED = RECORD + '.part'  # the same while the subset is being written
VERSION = 1  # raise it when the same arguments begin to give other images
_NEEDED = dict(images=('id', 'file_name'), annotations=('image_id', 'category_id'), categories=('id', 'name'))


def annotations_of(split: str) -> str:
    """Path of a split's annotations below the root."""
    return f'annotations/instances_{split}2017.json'


def config_options(out: str | Path) -> list[str]:
    """The ``--cfg-options`` of a config for COCO that train and test on a subset."""
    out, loaders = Path(out).as_posix(), ('train', 'val', 'test')
    options = [f'{split}_dataloader.dataset.data_root={out}/' for split in loaders]
    return options + [f'{split}_evaluator.ann_file={out}/{annotations_of("val")}' for split in loaders[1:]]


def classes_of(out: str | Path) -> tuple[str, ...]:
    """The classes of a subset, in COCO's order, as the ``metainfo`` of its data sets needs them."""
    content = json.loads((Path(out) / annotations_of('val')).read_text())
    return tuple(category['name'] for category in content['categories'])


def _read(path: Path) -> dict:
    """The content of an annotation file of objects."""
    content = read_file(path, 'a JSON file', lambda path: json.loads(path.read_bytes()))
    for name, keys in _NEEDED.items():
        entries = content.get(name) if isinstance(content, dict) else None
        entries = entries if isinstance(entries, list) else [None]
        if not all(isinstance(entry, dict) and entry.keys() >= {*keys} for entry in entries):
            text = f"source: {path} has no list {name!r} whose entries have {' and '.join(keys)}, as COCO's"
            cure = 'Unpack annotations_trainval2017.zip again'
            raise ValueError(f'{text} annotations of objects do. {cure}')
    check_names(path, (image['file_name'] for image in content['images']))
    return content


def choose(content: dict, count: int, seed: int, classes: Sequence[str] | None = None) -> dict:
    """Annotations of some of the images, drawn among those with an object that is no crowd.

    With the same seed, a larger subset contains a smaller one. Raises a ValueError where there are fewer.
    """
    categories = [c for c in content['categories'] if classes is None or c['name'] in classes]
    kept = {category['id'] for category in categories}
    annotations = [annotation for annotation in content['annotations'] if annotation['category_id'] in kept]
    usable = {annotation['image_id'] for annotation in annotations if not annotation.get('iscrowd')}
    images = [image for image in content['images'] if image['id'] in usable]
    if count > len(images):
        of_classes = f' of {", ".join(classes)}' if classes else ''
        cure = f'. Ask for {len(images)} or fewer' if images else ''
        text = f'{len(images)} of {len(content["images"])} have an object{of_classes}{cure}'
        raise ValueError(f'asked for {count} images, but {text}')
    drawn = np.random.default_rng(seed).permutation(len(images))[:count]
    images = [images[i] for i in sorted(drawn)]
    chosen = {image['id'] for image in images}
    annotations = [annotation for annotation in annotations if annotation['image_id'] in chosen]
    return dict(content, images=images, annotations=annotations, categories=categories)


def _choose_split(source: Path, split: str, count: int, seed: int, classes: Sequence[str] | None) -> dict:
    path = source / annotations_of(split)
    content = _read(path)
    names = [category['name'] for category in content['categories']]
    for name in classes or ():
        if name not in names:
            text = f'no category {name!r}.{did_you_mean(name, names, 1)} It has {", ".join(names)}'
            raise KeyError(f'classes: {path} has {text}')
    try:
        chosen = choose(content, count, seed, classes)
    except ValueError as error:
        raise ValueError(f'{split}: {error} (--{split}, {path})') from error
    files = [source / f'{split}2017' / image['file_name'] for image in chosen['images']]
    check_inside('source', source, files)
    absent = [str(file) for file in files if not file.is_file() or not file.stat().st_size]
    if absent:
        text = f'source: {len(absent)} of the {count} chosen {split} images are missing or empty'
        raise FileNotFoundError(f'{text}: {first_few(absent, LISTED)}. Unpack {split}2017.zip again')
    return chosen


def write_subset(
    source: str | Path,
    out: str | Path,
    train: int = 1000,
    val: int = 200,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> bool:
    """Write ``{train,val}2017/*.jpg`` and ``annotations/instances_{train,val}2017.json`` of some images.

    Images are hard links, or copies where there can be none. A directory that was left unfinished is written
    anew, a complete one of the same subset is left alone.

    Args:
        source (str | Path): COCO 2017, which stays as it is.
        out (str | Path): Directory of the subset.
        train (int): Number of training images. Defaults to 1000.
        val (int): Number of validation images. Defaults to 200.
        classes (Sequence[str] | None): Categories that are kept. Defaults to None, all: models of COCO fit.
        seed (int): Seed of the draw. Defaults to 0.
        overwrite (bool): Replace another subset. Defaults to False.

    Returns:
        bool: Whether anything was written.

    Raises:
        FileNotFoundError, ValueError, KeyError: Files are missing or broken, there are fewer images, no such
            category, or ``out`` holds something else.
    """
    counts = dict(train=train, val=val)
    for name, value, least in (('train', train, 1), ('val', val, 1), ('seed', seed, 0)):
        if value < least:
            raise ValueError(f'{name}: got {value}, expected {least} or more')
    folders = [f'{split}2017' for split in SPLITS]
    source = check_folder('source', source, [*map(annotations_of, SPLITS), *folders])
    out = Path(out)
    if out.resolve() == source.resolve():
        raise ValueError(f'out: {out} is the source. Pass another directory')
    kept = sorted(set(classes)) if classes else None
    sizes = [(source / annotations_of(split)).stat().st_size for split in SPLITS]
    record = dict(version=VERSION, **counts, seed=seed, classes=kept, bytes=sizes)
    if _is_there(out, record, overwrite):
        return False
    chosen = {split: _choose_split(source, split, n, seed, classes or None) for split, n in counts.items()}
    files = [f'{split}2017/{image["file_name"]}' for split in SPLITS for image in chosen[split]['images']]
    check_inside('out', out, [out / name for name in (*files, *map(annotations_of, SPLITS), STARTED, RECORD)])
    with exclusive_folder(out):
        if _is_there(out, record, overwrite):  # since another run has ended
            return False
        _write(source, out, record, chosen)
    return True


def _is_there(out: Path, record: dict, overwrite: bool) -> bool:
    left = None if (out / STARTED).is_file() else ()
    return matches_manifest(out, RECORD, record, 'another subset', overwrite, left)


def _write(source: Path, out: Path, record: dict, chosen: dict[str, dict]) -> None:
    write_file(json.dumps(record, indent=2) + '\n', out / STARTED)
    (out / RECORD).unlink(missing_ok=True)
    for folder in (*(f'{split}2017' for split in SPLITS), 'annotations'):
        shutil.rmtree(out / folder, ignore_errors=True)
    for split, content in chosen.items():
        for image in content['images']:
            file = Path(f'{split}2017', image['file_name'])
            link_or_copy(source / file, out / file)
    for split, content in chosen.items():
        write_file(json.dumps(content), out / annotations_of(split))
    os.replace(out / STARTED, out / RECORD)
