"""NYUv2: indoor scenes with depth, in 40 classes or in 13."""

import os.path as osp

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from kd_methods.datasets.palettes import voc_palette
from kd_methods.rgbx.dataset import RGBXDataset

CLASSES = (
    'wall',
    'floor',
    'cabinet',
    'bed',
    'chair',
    'sofa',
    'table',
    'door',
    'window',
    'bookshelf',
    'picture',
    'counter',
    'blinds',
    'desk',
    'shelves',
    'curtain',
    'dresser',
    'pillow',
    'mirror',
    'floor mat',
    'clothes',
    'ceiling',
    'books',
    'refridgerator',  # spelled like this in the official files
    'television',
    'paper',
    'towel',
    'shower curtain',
    'box',
    'whiteboard',
    'person',
    'night stand',
    'toilet',
    'sink',
    'lamp',
    'bathtub',
    'bag',
    'otherstructure',
    'otherfurniture',
    'otherprop',
)

#: The 13 classes, each with those of the 40 that it holds.
MEMBERS_OF_13 = dict(
    bed=('bed',),
    books=('books',),
    ceiling=('ceiling',),
    chair=('chair',),
    floor=('floor', 'floor mat'),
    furniture=(
        'cabinet',
        'bookshelf',
        'counter',
        'shelves',
        'dresser',
        'refridgerator',
        'night stand',
        'otherfurniture',
    ),
    objects=(
        'pillow',
        'mirror',
        'clothes',
        'paper',
        'towel',
        'shower curtain',
        'box',
        'whiteboard',
        'person',
        'toilet',
        'sink',
        'lamp',
        'bathtub',
        'bag',
        'otherstructure',
        'otherprop',
    ),
    picture=('picture',),
    sofa=('sofa',),
    table=('table', 'desk'),
    tv=('television',),
    wall=('wall', 'door'),
    window=('window', 'blinds', 'curtain'),
)


def _table_of_13() -> np.ndarray:
    """Label of the 13 classes for each label of the 40; unlabelled stays so."""
    table = np.zeros(len(CLASSES) + 1, np.uint8)
    for label, members in enumerate(MEMBERS_OF_13.values(), 1):
        table[[CLASSES.index(name) + 1 for name in members]] = label
    return table


#: Label of the 13 classes for each label of the 40; 0, unlabelled, stays so.
TO_13 = _table_of_13()
#: What lies below the root.
FOLDERS = ('images', 'depths', 'labels40', 'labels13')


@DATASETS.register_module()
class NYUv2Dataset(RGBXDataset, BaseSegDataset):
    """NYUv2 with depth, 40 classes, as ``tools/data/nyuv2.py`` writes it (795 / 654 images; any subset
    works).

    .. code-block:: none

        data/nyuv2
            images/train/00003.png    images/test/00001.png    RGB
            depths/train/00003.png    depths/test/00001.png    16 bit, millimetres, 0 where nothing was measured
            labels40/train/...        labels40/test/...        0 unlabelled, 1 ... 40 the classes
            labels13/train/...        labels13/test/...        0 unlabelled, 1 ... 13 (for NYUv2Dataset13)

    .. code-block:: python

        train_dataloader = dict(dataset=dict(
            type='NYUv2Dataset', data_root='data/nyuv2',
            data_prefix=dict(img_path='images/train', x_path='depths/train', seg_map_path='labels40/train'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadXFromFile', scale=1e-3), ...]))

    Args:
        img_suffix (str): Defaults to '.png'.
        seg_map_suffix (str): Defaults to '.png'.
        reduce_zero_label (bool): Label files hold 0 for unlabelled, then the classes; with False, the classes
            from 0 and 255 for unlabelled. Defaults to True.
        **kwargs: Those of ``RGBXDataset`` and ``BaseSegDataset``.

    Raises:
        FileNotFoundError: Folders or files are missing.
        ValueError: The first label image is not one of this data set.
    """

    METAINFO = dict(classes=CLASSES, palette=voc_palette(len(CLASSES) + 1)[1:].tolist())

    def __init__(
        self, img_suffix: str = '.png', seg_map_suffix: str = '.png', reduce_zero_label: bool = True, **kwargs
    ) -> None:
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            reduce_zero_label=reduce_zero_label,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List the images and look at the first label image."""
        name = type(self).__name__
        hint = f'Write the data set first: python tools/data/nyuv2.py --help (--out {self.data_root or "data/nyuv2"})'
        for key in ('img_path', 'x_path', 'seg_map_path'):
            folder = self.data_prefix.get(key)
            if folder and '://' not in folder and not osp.isdir(folder):
                raise FileNotFoundError(
                    f'{name}: no directory {folder!r} (data_root={self.data_root!r}, data_prefix.{key}). '
                    f'{hint}'
                )
        data_list = super().load_data_list()
        if not data_list:
            raise FileNotFoundError(
                f'{name}: no image *{self.img_suffix} in {self.data_prefix.get("img_path")!r} '
                f'(data_root={self.data_root!r}, data_prefix.img_path). {hint}'
            )
        if data_list[0].get('seg_map_path'):
            self._check_labels(data_list[0]['seg_map_path'])
        return data_list

    def _check_labels(self, path: str) -> None:
        """Tell other numberings of the classes, with which a network would learn nonsense without a word."""
        name, count = type(self).__name__, len(self.METAINFO['classes'])
        if not fileio.exists(path, backend_args=self.backend_args):
            raise FileNotFoundError(
                f'{name}: no label image {path!r} (data_prefix.seg_map_path, seg_map_suffix)'
            )
        content = fileio.get(path, backend_args=self.backend_args)
        labels = mmcv.imfrombytes(content, flag='unchanged', backend='pillow')
        if labels.ndim != 2:
            raise ValueError(
                f'{name}: label image {path!r} has the shape {labels.shape}, expected height x width: '
                'labels, not colours (data_prefix.seg_map_path)'
            )
        allowed = {0, *range(1, count + 1)} if self.reduce_zero_label else {*range(count), 255}
        others = sorted(set(np.unique(labels).tolist()) - allowed)
        if others:
            expected = (
                f'0 (unlabelled) and 1 to {count}'
                if self.reduce_zero_label
                else f'0 to {count - 1} and 255 (unlabelled; reduce_zero_label=False)'
            )
            raise ValueError(
                f'{name}: {path!r} holds the labels {others}, expected {expected}. tools/data/nyuv2.py '
                f'writes those of {count} classes to labels{count}/ (data_prefix.seg_map_path)'
            )


@DATASETS.register_module()
class NYUv2Dataset13(NYUv2Dataset):
    """NYUv2 with depth, 13 classes: ``NYUv2Dataset`` with ``data_prefix.seg_map_path='labels13/train'``."""

    METAINFO = dict(classes=tuple(MEMBERS_OF_13), palette=voc_palette(len(MEMBERS_OF_13) + 1)[1:].tolist())
