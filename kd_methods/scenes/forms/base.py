"""What a form of the scenes on disk is, and what several of them write."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kd_methods.scenes.maker import Scene
from kd_methods.scenes.sources import SPLITS

HOLES = 0.02  # share of pixels that the depth sensor misses
STRIP = 24  # one row in so many is without a label, in forms of data sets that have such pixels


class SceneForm:
    """A form on disk; subclasses say which folders there are and what one scene becomes.

    A form writes one scene at a time, from any process, and adds what belongs to a whole split at the end.
    """

    has_depth = False  # whether it has a place for depth
    files: tuple[str, ...] = ()  # files that it writes outside of its folders
    root = ''  # folder under the root that the loader's ``data_root`` names, '' for the root

    def __init__(self, seed: int = 0, depth: bool = False) -> None:
        self.seed = seed
        self.depth = depth

    def bases(self) -> list[str]:
        """Names of the files of ``configs/_base_/datasets/`` that read it."""
        raise NotImplementedError

    def check(self, counts: dict[str, int]) -> None:
        """Raise a ValueError if the form cannot hold so many scenes of each split."""

    def folders(self) -> list[str]:
        """Folders under the root, with everything that the form writes in them."""
        raise NotImplementedError

    def write(self, out: Path, split: str, index: int, scene: Scene) -> Any:
        """Write one scene and return what :meth:`finish` needs of it."""
        raise NotImplementedError

    def finish(self, out: Path, split: str, written: list) -> None:
        """Write what belongs to a whole split, given what :meth:`write` returned, in order; train first."""


def save_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an image as JPEG, nearly without loss: small signs would suffer from more."""
    Image.fromarray(image).save(path, quality=95, subsampling=0)


def unmeasured(shape: tuple[int, int], seed: int, split: str, index: int) -> np.ndarray:
    """Where the depth sensor measured nothing, H x W bool."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index, 1])  # no draw of the scene itself
    return rng.random(shape) < HOLES


def sensed_depth(scene: Scene, seed: int, split: str, index: int) -> np.ndarray:
    """What a sensor writes of a scene's depth: millimetres, 0 where it measured nothing, uint16."""
    millimetres = np.round(scene.depth * 1000).astype(np.uint16)
    millimetres[unmeasured(scene.depth.shape, seed, split, index)] = 0
    return millimetres


def unlabelled_rows(height: int) -> slice:
    """The lowest rows, which get no label in forms of data sets whose labels have gaps."""
    return slice(height - height // STRIP, height)
