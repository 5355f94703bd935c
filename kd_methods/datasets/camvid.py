"""CamVid with 11 classes, in the 360 x 480 release that segmentation papers use."""

import os.path as osp
from collections.abc import Sequence

import mmcv
import numpy as np
from mmengine import fileio, list_from_file
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from kd_methods.utils.files import check_path
from kd_methods.utils.text import first_few

_VOID = 11
_IGNORE = 255
_RELEASE = (
    'This class reads the 360 x 480 release: train/ trainannot/ train.txt, the same for val and test, and '
    'label images with the ids 0-10 and 11 for void.'
)

_COLOURS = {
    'sky': [128, 128, 128],
    'building': [128, 0, 0],
    'pole': [192, 192, 128],
    'road': [128, 64, 128],
    'pavement': [60, 40, 222],
    'tree': [128, 128, 0],
    'sign symbol': [192, 128, 128],
    'fence': [64, 64, 128],
    'car': [64, 0, 128],
    'pedestrian': [64, 64, 0],
    'bicyclist': [0, 128, 192],
}


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid, 11 classes; void pixels are ignored.

    On disk (367 / 101 / 233 images in the full release; any subset works)::

        data/camvid
            train/ trainannot/ train.txt
            val/   valannot/   val.txt
            test/  testannot/  test.txt

    Label images hold ids 0-10 and 11 (or 255) for void, which becomes 255. A line of the split file is either
    an image and its label image, ``/any/train/01.png /any/trainannot/01.png``, of which the last folder and
    the name count, below ``data_root``; or a plain name, ``01`` or ``01.png``, below ``data_prefix``.

    Args:
        ann_file (str): Split file, below ``data_root`` if relative. Defaults to 'train.txt'.
        data_root (str): Folder of the data set. Defaults to 'data/camvid'.
        data_prefix (dict, optional): Folders ``img_path`` and ``seg_map_path``, for split files with plain
            names. Defaults to the split's name and the split's name + 'annot'.
        img_suffix (str): Suffix of images. Defaults to '.png'.
        seg_map_suffix (str): Suffix of label images. Defaults to '.png'.
        **kwargs: Further arguments of mmseg's ``BaseSegDataset``.
    """

    METAINFO = dict(classes=tuple(_COLOURS), palette=list(_COLOURS.values()))

    def __init__(
        self,
        ann_file: str = 'train.txt',
        data_root: str = 'data/camvid',
        data_prefix: dict | None = None,
        img_suffix: str = '.png',
        seg_map_suffix: str = '.png',
        **kwargs,
    ) -> None:
        if not ann_file:
            raise ValueError("CamVidDataset.ann_file: name the split file, such as 'train.txt'.")
        if data_prefix is None:
            split = osp.splitext(osp.basename(ann_file))[0]
            data_prefix = dict(img_path=split, seg_map_path=f'{split}annot')
        places = dict(ann_file=ann_file, data_root=data_root, data_prefix=data_prefix)
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **places, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence | None = None) -> dict[int, int]:
        """mmseg's map for a choice of classes, with void mapped to the ignored label."""
        return {**(super().get_label_map(new_classes) or {}), _VOID: _IGNORE}

    def load_data_list(self) -> list[dict]:
        """Read the split file and check that all its files exist."""
        pairs = self._read_split()
        files = [path for pair in pairs for path in pair]
        missing = [path for path in files if not fileio.exists(path, backend_args=self.backend_args)]
        if missing:
            part = f'{len(missing)} of the {len(files)} files that {self.ann_file!r} names are missing'
            raise FileNotFoundError(f'CamVidDataset: {part}: {first_few(missing, 5)}. {_RELEASE}')
        self._check_labels(pairs[0][1])
        shared = dict(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label)
        return [dict(img_path=img, seg_map_path=label, seg_fields=[], **shared) for img, label in pairs]

    def _read_split(self) -> list[tuple[str, str]]:
        """Paths of all images and their label images."""
        cure = f'Put the data set into data_root, or correct data_root. {_RELEASE}'
        check_path('CamVidDataset (ann_file)', self.ann_file, cure, self.data_root, self.backend_args)
        lines = list_from_file(self.ann_file, backend_args=self.backend_args)
        pairs = [self._parse(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        if not pairs:
            raise ValueError(f'CamVidDataset.ann_file: {self.ann_file!r} names no image.')
        return pairs

    def _parse(self, line: str, number: int) -> tuple[str, str]:
        """One line of the split file -> paths of the image and its label image."""
        names = line.replace('\\', '/').split()
        if len(names) == 2:
            img, seg_map = (name.strip('/').split('/')[-2:] for name in names)
            if len(img) == len(seg_map) == 2:
                return osp.join(self.data_root, *img), osp.join(self.data_root, *seg_map)
        if len(names) == 1 and '/' not in names[0]:
            stem = names[0].removesuffix(self.img_suffix)
            image = osp.join(self.data_prefix['img_path'], stem + self.img_suffix)
            return image, osp.join(self.data_prefix['seg_map_path'], stem + self.seg_map_suffix)
        form = "'train/NAME.png trainannot/NAME.png' (an image and its label image, any prefix)"
        text = f'CamVidDataset.ann_file: line {number} of {self.ann_file!r} is {line.strip()!r}'
        raise ValueError(f"{text}; expected {form} or a plain 'NAME'.")

    def _check_labels(self, path: str) -> None:
        """Tell the other releases (colours, 32 classes) by the first label image."""
        content = fileio.get(path, backend_args=self.backend_args)
        label = mmcv.imfrombytes(content, flag='unchanged', backend='pillow')
        if label.ndim != 2:
            raise ValueError(f'CamVidDataset: label image {path!r} has the shape {label.shape}. {_RELEASE}')
        others = sorted(set(np.unique(label).tolist()) - {*range(_VOID + 1), _IGNORE})
        if others:
            raise ValueError(f'CamVidDataset: {path!r} holds the labels {others}. {_RELEASE}')
