"""Small folders in the form of the official ones of Pascal VOC 2012 and of SBD."""

import numpy as np
import scipy.io
import scipy.sparse
from mmseg.datasets import PascalVOCDataset
from PIL import Image

SIZE = 9, 14  # height, width
LISTS = 'VOC2012/ImageSets/Segmentation'


def labels_of(name, top=20):
    """A label map of its own for each name."""
    labels = np.random.default_rng(list(name.encode())).integers(0, top + 1, SIZE).astype(np.uint8)
    labels[0, :2] = 0, top
    return labels


def write_voc(devkit, train, val, more=()):
    """VOCdevkit: images of all names, label images of those in the two lists."""
    voc = devkit / 'VOC2012'
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (voc / folder).mkdir(parents=True)
    for name in {*train, *val, *more}:
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(voc / f'JPEGImages/{name}.jpg')
    for name in {*train, *val}:
        labels = labels_of(f'voc {name}')
        labels[:, -1] = 255  # the contours, which SBD has not
        image = Image.fromarray(labels)
        image.putpalette(np.array(PascalVOCDataset.METAINFO['palette'], np.uint8).tobytes())
        image.save(voc / f'SegmentationClass/{name}.png')
    for split, names in dict(train=train, val=val).items():
        (devkit / LISTS / f'{split}.txt').write_text('\n'.join(names) + '\n')


def write_mat(path, labels):
    """GTcls, as in dataset/cls: contours of 20 classes, the label map and the classes in it."""
    contours = np.empty((20, 1), object)
    for i in range(20):
        contours[i, 0] = scipy.sparse.csc_matrix(labels == i + 1)
    content = dict(
        Boundaries=contours, Segmentation=labels, CategoriesPresent=np.setdiff1d(labels, [0])[:, None]
    )
    scipy.io.savemat(path, dict(GTcls=content), do_compression=True)


def write_sbd(root, train, val):
    """benchmark_RELEASE with the two lists of SBD and the labels of all names."""
    (root / 'dataset/cls').mkdir(parents=True)
    for split, names in dict(train=train, val=val).items():
        (root / f'dataset/{split}.txt').write_text(''.join(f'{name}\n' for name in names))
        for name in names:
            write_mat(root / f'dataset/cls/{name}.mat', labels_of(name))
