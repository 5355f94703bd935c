"""A small folder in the form of the official COCO-Stuff 10k v1.1."""

import numpy as np
import scipy.io
from PIL import Image

SIZE = 13, 16  # height, width: room for all 183 labels
ABSENT = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
PRESENT = [label for label in range(183) if label not in ABSENT]


def name_of(number):
    return f'COCO_train2014_{number:012d}'


def labels_of(number):
    """Every label there is, in an order of its own for each number."""
    return (
        np.random.default_rng(number)
        .permutation(np.resize(PRESENT, SIZE[0] * SIZE[1]))
        .reshape(SIZE)
        .astype(np.uint16)
    )


def write_mat(path, labels):
    """The fields of an official file: S and what this project does not read."""
    names = np.array([f'class {i}' for i in range(5)], object)[:, None]
    scipy.io.savemat(
        path,
        dict(
            S=labels,
            names=names,
            captions=names,
            regionMapStuff=np.ones(SIZE, np.uint16),
            regionLabelsStuff=np.zeros((3, 1), np.uint16),
        ),
        do_compression=True,
    )


def write_coco_stuff(root, train, test):
    """images, annotations and imageLists of the numbers in each split."""
    for folder in ('images', 'annotations', 'imageLists'):
        (root / folder).mkdir(parents=True)
    for split, numbers in dict(all=[*train, *test], train=train, test=test).items():
        (root / f'imageLists/{split}.txt').write_text(''.join(f'{name_of(number)}\n' for number in numbers))
    for number in {*train, *test}:
        image = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / f'images/{name_of(number)}.jpg')
        write_mat(root / f'annotations/{name_of(number)}.mat', labels_of(number))
