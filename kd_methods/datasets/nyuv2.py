"""NYUv2: indoor scenes with depth, in 40 classes or in 13."""

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from kd_methods.datasets.palettes import voc_palette
from kd_methods.rgbx.dataset import RGBXDataset, check_folders
from kd_methods.utils.files import check_path

# 'refridgerator' is spelled like this in the official files.
CLASSES = tuple(
    'wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, desk, '
    'shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refridgerator, '
    'television, paper, towel, shower curtain, box, whiteboard, person, night stand, toilet, sink, lamp, '
    'bathtub, bag, otherstructure, otherfurniture, otherprop'.split(', ')
)

_MEMBERS = dict(
    bed='bed',
    books='books',
    ceiling='ceiling',
    chair='chair',
    floor='floor, floor mat',
    furniture='cabinet, bookshelf, counter, shelves, dresser, refridgerator, night stand, otherfurniture',
    objects='pillow, mirror, clothes, paper, towel, shower curtain, box, whiteboard, person, toilet, sink, '
    'lamp, bathtub, bag, otherstructure, otherprop',
    picture='picture',
    sofa='sofa',
    table='table, desk',
    tv='television',
    wall='wall, door',
    window='window, blinds, curtain',
)
#: The 13 classes, each with the names of the 40 that it holds.
MEMBERS_OF_13 = {name: tuple(members.split(', ')) for name, members in _MEMBERS.items()}


def _table_of_13() -> np.ndarray:
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
    """NYUv2 with depth, 40 classes, as ``tools/data/nyuv2.py`` writes it: 795 and 654 images, or a subset.

    .. code-block:: none

        data/nyuv2
            images/train/00003.png    images/test/00001.png    RGB
            depths/train/00003.png    depths/test/00001.png    16 bit, millimetres, 0 where not measured
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
        suffixes = dict(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix)
        super().__init__(reduce_zero_label=reduce_zero_label, **suffixes, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images and look at the first label image."""
        name, out = type(self).__name__, self.data_root or 'data/nyuv2'
        cure = f'Write the data set first: python tools/data/nyuv2.py --help (--out {out})'
        check_folders(self, cure, 'img_path', 'x_path', 'seg_map_path')
        data_list = super().load_data_list()
        if not data_list:
            text = f'{name}: no image *{self.img_suffix} in {self.data_prefix.get("img_path")!r}'
            raise FileNotFoundError(f'{text} (data_root={self.data_root!r}, data_prefix.img_path). {cure}')
        if data_list[0].get('seg_map_path'):
            self._check_labels(data_list[0]['seg_map_path'])
        return data_list

    def _check_labels(self, path: str) -> None:
        """Tell other numberings of the classes, with which a network would silently learn nonsense."""
        name, count = type(self).__name__, len(self.METAINFO['classes'])
        cure = f'Set seg_map_suffix, or write the labels again ({name}.data_prefix.seg_map_path).'
        check_path(name, path, cure, self.data_root, self.backend_args)
        content = fileio.get(path, backend_args=self.backend_args)
        labels = mmcv.imfrombytes(content, flag='unchanged', backend='pillow')
        if labels.ndim != 2:
            text = f'{name}: label image {path!r} has the shape {labels.shape}, expected height x width'
            raise ValueError(f'{text}: labels, not colours (data_prefix.seg_map_path)')
        if self.reduce_zero_label:
            allowed, expected = {*range(count + 1)}, f'0 (unlabelled) and 1 to {count}'
        else:
            allowed = {*range(count), 255}
            expected = f'0 to {count - 1} and 255 (unlabelled; reduce_zero_label=False)'
        others = sorted(set(np.unique(labels).tolist()) - allowed)
        if others:
            writes = f'tools/data/nyuv2.py writes those of {count} classes to labels{count}/'
            text = f'{name}: {path!r} holds the labels {others}, expected {expected}'
            raise ValueError(f'{text}. {writes} (data_prefix.seg_map_path)')


@DATASETS.register_module()
class NYUv2Dataset13(NYUv2Dataset):
    """NYUv2 with depth, 13 classes: ``NYUv2Dataset`` with ``data_prefix.seg_map_path='labels13/train'``."""

    METAINFO = dict(classes=tuple(MEMBERS_OF_13), palette=voc_palette(len(MEMBERS_OF_13) + 1)[1:].tolist())
