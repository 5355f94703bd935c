"""Convert COCO-Stuff 10k v1.1 into the folders that ``COCOStuffDataset`` of mmseg reads.

mmseg's ``coco_stuff10k.py`` takes the whole data set only, copies the images, converts all files anew in each
run, and ends at the first broken one.
"""

from pathlib import Path

import numpy as np

from kd_methods.convert import base
from kd_methods.convert.inside import check_inside, check_names
from kd_methods.utils.files import exclusive_folder, link_or_copy, save_png

SPLITS = ('train', 'test')
FULL = 10000
LABELS = 182  # from 1; 0 is unlabelled
ABSENT = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # numbers that no class has

TRAIN_ID_OF_LABEL = np.full(LABELS + 1, -1, np.int16)
_present = [label for label in range(LABELS + 1) if label not in ABSENT]
TRAIN_ID_OF_LABEL[_present] = range(len(_present))


def _image_of(source: Path) -> Path:
    return source.parents[1] / f'images/{source.stem}.jpg'


def _convert(source: Path, target: Path) -> None:
    absent = ', '.join(map(str, ABSENT))
    expected = f'labels from 0 to {LABELS} without {absent} (v1.0 numbers them otherwise: get v1.1)'
    labels = base.translate(base.read_mat(source, 'S'), TRAIN_ID_OF_LABEL, source, expected)
    base.check_image(_image_of(source), labels.shape)
    save_png(target, labels)


def convert_coco_stuff10k(
    root: str | Path, workers: int | None = None, overwrite: bool = False
) -> base.Outcome:
    """Write ``annotations/{train,test}2014/*_labelTrainIds.png``; link images into ``images/{...}2014``.

    An image is linked when its labels are there, since the loader takes every image of the folder.

    Args:
        root (str | Path): Folder of the data set, with images, annotations and imageLists.
        workers (int | None): Processes. Defaults to None, the number of cores.
        overwrite (bool): Convert all files anew. Defaults to False.

    Raises:
        FileNotFoundError, ValueError: ``root`` is another folder, or a list of a split names nothing.
    """
    lists = [f'imageLists/{split}.txt' for split in SPLITS]
    root = base.check_folder('ROOT', root, [*lists, 'annotations', 'images'])
    folder, pairs = root / 'annotations', []
    for split in SPLITS:
        lines = base.read_names(root / f'imageLists/{split}.txt')
        names = dict.fromkeys(line.removesuffix('.jpg') for line in lines)  # which unofficial lists have
        check_names(root / f'imageLists/{split}.txt', names)
        pairs += [(folder / f'{n}.mat', folder / f'{split}2014/{n}_labelTrainIds.png') for n in names]
    images = [(image := _image_of(s), image.parent / target.parent.name / image.name) for s, target in pairs]
    check_inside('ROOT', root, [path for pair in pairs + images for path in pair])
    with exclusive_folder(root):
        outcome = base.convert_files(_convert, pairs, 'labels to PNG', workers, overwrite)
        for (source, _), (image, placed) in zip(pairs, images):
            try:
                if source not in outcome.failed:
                    _place(image, placed)
            except OSError as error:
                outcome.failed[image] = base.naming(image, error)
    if len(pairs) != FULL:
        outcome.notes.append(f'{len(pairs)} images are in the lists (the full data has {FULL})')
    return outcome


def _place(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where the disk has no links; what is there already stays."""
    if not source.is_file():
        raise FileNotFoundError(f'{source}: no such file')
    original = source.stat()
    there = target.stat() if target.is_file() else None
    same = there and there.st_size == original.st_size and there.st_mtime_ns >= original.st_mtime_ns
    if not same:
        link_or_copy(source, target)
