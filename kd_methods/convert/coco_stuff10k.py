"""Convert COCO-Stuff 10k v1.1 into the folders that ``COCOStuffDataset`` of mmseg reads."""

from pathlib import Path

import numpy as np

from kd_methods.convert.base import (
    Outcome,
    check_folder,
    check_image,
    convert_files,
    naming,
    read_mat,
    read_names,
    translate,
)
from kd_methods.utils.files import link_or_copy, exclusive_folder, save_png

SPLITS = ('train', 'test')
FULL = 10000
LABELS = 182  # from 1; 0 is unlabelled
ABSENT = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # numbers that no class has

TRAIN_ID_OF_LABEL = np.full(LABELS + 1, -1, np.int16)
_present = [label for label in range(LABELS + 1) if label not in ABSENT]
TRAIN_ID_OF_LABEL[_present] = range(len(_present))


def _read_list(path: Path) -> list[str]:
    """Names of a split, each once; other lists than the official ones have them with the suffix of the image."""
    return list(dict.fromkeys(line.removesuffix('.jpg') for line in read_names(path)))


def _image_of(source: Path) -> Path:
    return source.parents[1] / f'images/{source.stem}.jpg'


def _convert(source: Path, target: Path) -> None:
    labels = translate(
        read_mat(source, 'S'),
        TRAIN_ID_OF_LABEL,
        source,
        f'labels from 0 to {LABELS} without {", ".join(map(str, ABSENT))} (v1.0 numbers them otherwise: get '
        'v1.1)',
    )
    check_image(_image_of(source), labels.shape)
    save_png(target, labels)


def convert_coco_stuff10k(root: str | Path, workers: int | None = None, overwrite: bool = False) -> Outcome:
    """Write ``annotations/{train,test}2014/*_labelTrainIds.png`` and link the images into
    ``images/{train,test}2014``.

    An image is put there when its labels are there, since the loader takes every image of the folder. What an
    earlier run has put there stays.

    Args:
        root (str | Path): Folder of the data set, with images, annotations and imageLists.
        workers (int | None): Processes. Defaults to None, the number of cores.
        overwrite (bool): Convert all files anew. Defaults to False.

    Raises:
        FileNotFoundError, ValueError: ``root`` is another folder, or a list of a split names nothing.
    """
    root = check_folder(
        'ROOT', root, [*(f'imageLists/{split}.txt' for split in SPLITS), 'annotations', 'images']
    )
    pairs = [
        (root / f'annotations/{name}.mat', root / f'annotations/{split}2014/{name}_labelTrainIds.png')
        for split in SPLITS
        for name in _read_list(root / f'imageLists/{split}.txt')
    ]
    with exclusive_folder(root):
        outcome = convert_files(_convert, pairs, 'labels to PNG', workers, overwrite)
        for source, target in pairs:
            if source in outcome.failed:
                continue
            image = _image_of(source)
            try:
                _place(image, root / 'images' / target.parent.name / image.name)
            except OSError as error:
                outcome.failed[image] = naming(image, error)
    if len(pairs) != FULL:
        outcome.notes.append(f'{len(pairs)} images are in the lists (the full data has {FULL})')
    return outcome


def _place(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where the disk has no links; what is there already stays."""
    if not source.is_file():
        raise FileNotFoundError(f'{source}: no such file')
    original = source.stat()
    if target.is_file():
        there = target.stat()
        if there.st_size == original.st_size and there.st_mtime_ns >= original.st_mtime_ns:
            return
    link_or_copy(source, target)
