"""The form of Pascal VOC 2012 with the labels of the Semantic Boundaries Dataset."""

from pathlib import Path

import cv2
import numpy as np

from kd_methods.datasets.palettes import voc_palette
from kd_methods.scenes.forms.base import SceneForm, save_jpeg
from kd_methods.scenes.maker import Scene
from kd_methods.utils.files import save_png, write_file

YEARS = dict(train=2008, val=2009)
BORDER = 255
LISTS = 'VOC2012/ImageSets/Segmentation'


class VOCForm(SceneForm):
    """``VOC2012`` with the folders and lists of VOC, and those that ``tools/data/voc_aug.py`` adds.

    Every second training scene is the SBD's alone: its name is in ``aug.txt``. The others are in
    ``train.txt``; they and val have VOC's own labels, of classes and of objects, with 255 along the outlines.
    ``SegmentationClassAug`` has the labels of all training scenes, without that border.
    """

    root = 'VOC2012'

    def bases(self) -> list[str]:
        return ['voc12_aug_512x512']

    def check(self, counts: dict[str, int]) -> None:
        if counts['train'] < 2:
            text = "the form 'voc' divides them between train.txt and aug.txt; expected 2 or more"
            raise ValueError(f'train: got {counts["train"]} scene, but {text}')

    def folders(self) -> list[str]:
        kinds = ('JPEGImages', 'SegmentationClass', 'SegmentationObject', 'SegmentationClassAug')
        return [LISTS, *(f'VOC2012/{kind}' for kind in kinds)]

    def write(self, out: Path, split: str, index: int, scene: Scene) -> str:
        out, name = out / 'VOC2012', f'{YEARS[split]}_{index + 1:06d}'
        save_jpeg(out / f'JPEGImages/{name}.jpg', scene.image)
        if split == 'train':
            _save(out / f'SegmentationClassAug/{name}.png', scene.label)
        if split == 'val' or index % 2 == 0:
            numbers = np.zeros_like(scene.label)
            for number, mask in enumerate(scene.instances, 1):
                numbers[mask] = number
            border = _outlines(numbers)
            _save(out / f'SegmentationClass/{name}.png', np.where(border, BORDER, scene.label))
            _save(out / f'SegmentationObject/{name}.png', np.where(border, BORDER, numbers))
        return name

    def finish(self, out: Path, split: str, written: list) -> None:
        if split == 'train':
            lists = dict(train=written[::2], aug=written[1::2], trainaug=written)
        else:
            lists = dict(val=written, trainval=(out / LISTS / 'train.txt').read_text().split() + written)
        for name, names in lists.items():
            write_file(''.join(f'{stem}\n' for stem in names), out / LISTS / f'{name}.txt')


def _outlines(numbers: np.ndarray) -> np.ndarray:
    """Pixels next to another object or the background, H x W bool."""
    # The band is 2 pixels wide, in large scenes a hundredth of the side as in VOC.
    reach = 2 * max(1, len(numbers) // 200) + 1
    kernel = np.ones((reach, reach), np.uint8)
    return cv2.dilate(numbers, kernel) != cv2.erode(numbers, kernel)


def _save(path: Path, labels: np.ndarray) -> None:
    save_png(path, labels.astype(np.uint8), voc_palette(), level=1)
