"""The forms in which sign scenes lie on disk: their own, and those of the data sets whose loaders are tested on them.

A form writes one scene at a time, from any process, and adds what belongs to a whole split (lists, JSON) at the end.
"""
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .scene_maker import Scene
from .scene_sources import SPLITS

HOLES = 0.02  # share of pixels that the depth sensor misses
CLASSES = tuple('0123456789')  # of a sign: the digit on it


class SceneForm:
    """A form on disk; subclasses say which folders there are and what one scene becomes.

    Args:
        seed (int): Seed of the scenes, for draws of the form's own.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def folders(self) -> list[str]:
        """Folders under the root, with everything that the form writes in them."""
        raise NotImplementedError

    def write(self, out: Path, split: str, index: int, scene: Scene) -> Any:
        """Write one scene and return what :meth:`finish` needs of it."""
        raise NotImplementedError

    def finish(self, out: Path, split: str, written: list) -> None:
        """Write what belongs to a whole split, given what :meth:`write` returned, in order."""


class OwnForm(SceneForm):
    """``{train,val}/{images,labels}/00000.png``, and with depth ``{train,val}/depths``, as ``SceneDataset`` reads them.

    Args:
        seed (int): Seed of the scenes, for the depth sensor's misses.
        depth (bool): Also write 16-bit millimetres with 0 where nothing was measured. Defaults to False.
    """

    def __init__(self, seed: int = 0, depth: bool = False) -> None:
        super().__init__(seed)
        self.depth = depth

    def folders(self) -> list[str]:
        kinds = ('images', 'labels', *(['depths'] if self.depth else []))
        return [f'{split}/{kind}' for split in SPLITS for kind in kinds]

    def write(self, out: Path, split: str, index: int, scene: Scene) -> None:
        name = f'{index:05d}.png'
        # Level 1: noise hardly compresses, and higher levels take three times as long for 5 %.
        Image.fromarray(scene.image).save(out / split / 'images' / name, compress_level=1)
        Image.fromarray(scene.label).save(out / split / 'labels' / name, compress_level=1)
        if self.depth:
            Image.fromarray(sensed_depth(scene, self.seed, split, index)).save(
                out / split / 'depths' / name, compress_level=1)


class CocoForm(SceneForm):
    """COCO 2017: ``{train,val}2017/000000000001.jpg`` and ``annotations/instances_{train,val}2017.json``.

    Each sign is an object of the category of its digit (ids 1 to 10, names '0' to '9'). Masks are run lengths, as COCO itself
    has them for crowds: a sign behind a bar is in parts and may have holes, which polygons would lose.
    """

    def folders(self) -> list[str]:
        return [*(f'{split}2017' for split in SPLITS), 'annotations']

    def write(self, out: Path, split: str, index: int, scene: Scene) -> dict:
        name = f'{index + 1:012d}.jpg'
        Image.fromarray(scene.image).save(out / f'{split}2017' / name, quality=95, subsampling=0)
        objects = [dict(category_id=int(digit) + 1, bbox=_xywh(box), area=int(mask.sum()), segmentation=run_lengths(mask),
                        iscrowd=0)
                   for digit, box, mask in zip(scene.classes, scene.boxes, scene.instances)]
        height, width = scene.label.shape
        return dict(image=dict(id=index + 1, file_name=name, height=height, width=width), objects=objects)

    def finish(self, out: Path, split: str, written: list) -> None:
        annotations = []
        for scene in written:
            for thing in scene['objects']:
                annotations.append(dict(id=len(annotations) + 1, image_id=scene['image']['id'], **thing))
        content = dict(
            info=dict(description='Sign scenes in the form of COCO', version='1.0', year=2017),
            licenses=[],
            images=[scene['image'] for scene in written],
            annotations=annotations,
            categories=[dict(id=i + 1, name=name, supercategory='sign') for i, name in enumerate(CLASSES)])
        (out / 'annotations' / f'instances_{split}2017.json').write_text(json.dumps(content))


FORMS = dict(scenes=OwnForm, coco=CocoForm)


def build_form(name: str, seed: int = 0, depth: bool = False) -> SceneForm:
    """The form of a name.

    Raises:
        ValueError: There is no such form, or it has no place for depth.
    """
    if name not in FORMS:
        raise ValueError(f'format: got {name!r}, expected one of {list(FORMS)}')
    if FORMS[name] is OwnForm:
        return OwnForm(seed, depth)
    if depth:
        raise ValueError(f'depth: the form {name!r} has no place for depth maps; leave --depth or --format {name} out')
    return FORMS[name](seed)


def sensed_depth(scene: Scene, seed: int, split: str, index: int) -> np.ndarray:
    """What a sensor writes of a scene's depth: millimetres, 0 where it measured nothing, uint16."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index, 1])  # no draw of the scene itself
    millimetres = np.round(scene.depth * 1000).astype(np.uint16)
    millimetres[rng.random(millimetres.shape) < HOLES] = 0
    return millimetres


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's run lengths of a mask H x W: pixels down the columns, in turn outside and inside, beginning outside."""
    pixels = np.concatenate([[False], mask.ravel(order='F').astype(bool), [False]])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    ends = np.concatenate([[0], changes, [mask.size]])
    counts = np.diff(ends)
    if len(changes) and changes[-1] == mask.size:  # the mask ends inside: no last run outside
        counts = counts[:-1]
    return dict(counts=counts.tolist(), size=list(mask.shape))


def _xywh(box: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return [x1, y1, x2 - x1, y2 - y1]
