"""The form of NYUv2 that ``tools/data/nyuv2.py`` writes and ``NYUv2Dataset`` reads."""

from pathlib import Path

import numpy as np

from kd_methods.datasets.nyuv2 import CLASSES, FOLDERS, TO_13
from kd_methods.scenes.forms.base import SceneForm, sensed_depth, unlabelled_rows
from kd_methods.scenes.maker import Scene
from kd_methods.utils.files import save_png

PARTS = dict(train='train', val='test')
# Classes of the scene labels: no two are in one of the 13.
NAMES = ('wall', 'floor', 'cabinet', 'bed', 'chair', 'sofa', 'table', 'window', 'picture', 'ceiling', 'books')
LABELS_40 = np.array([CLASSES.index(name) + 1 for name in NAMES], np.uint8)


class NYUv2Form(SceneForm):
    """``{images,depths,labels40,labels13}/{train,test}/00001.png``; the test split holds the val scenes.

    Depth is always there. The splits take the numbers in turn, and the lowest rows are unlabelled. There is
    no record of a conversion, so that ``tools/data/nyuv2.py`` refuses to write over them.
    """

    has_depth = True

    def __init__(self, seed: int = 0, depth: bool = True) -> None:
        super().__init__(seed, depth=True)

    def bases(self) -> list[str]:
        return ['nyuv2_480x640', 'nyuv2_depth_480x640']

    def folders(self) -> list[str]:
        return [f'{kind}/{part}' for kind in FOLDERS for part in PARTS.values()]

    def write(self, out: Path, split: str, index: int, scene: Scene) -> None:
        number = 2 * index + (1 if split == 'train' else 2)
        labels = LABELS_40[scene.label]
        labels[unlabelled_rows(len(labels))] = 0
        arrays = (scene.image, sensed_depth(scene, self.seed, split, index), labels, TO_13[labels])
        for kind, array in zip(FOLDERS, arrays):
            save_png(out / kind / PARTS[split] / f'{number:05d}.png', array, level=1)
