"""The demo's picture of predictions, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from scipy import ndimage

from kd_methods.experiments.pictures import INK, PICTURE
from kd_methods.scenes.dataset import SceneDataset
from kd_methods.visualize.predictions import Classes

CLASSES = Classes(SceneDataset.METAINFO)


def draw_predictions(out: Path, scenes: Path, predictions: Mapping[str, Path], most: int = 6) -> None:
    """Draw scenes, their truth and what each network says, one scene a row.

    Args:
        out (Path): PNG file.
        scenes (Path): Folder of the scenes; the rows are spread evenly over its `val` part.
        predictions (Mapping): Heading of a column -> folder of predicted label maps.
        most (int): Rows at most. Defaults to 6.
    """
    names = sorted(path.name for path in (scenes / 'val' / 'images').glob('*.png'))
    chosen = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    names = [names[i] for i in np.unique(chosen)]
    columns = {'image': scenes / 'val' / 'images', 'truth': scenes / 'val' / 'labels', **predictions}
    cell = 1.55  # inches
    height = cell * len(names) + 1.05
    fig = Figure(figsize=(cell * len(columns) + 0.1, height))
    axes = fig.subplots(len(names), len(columns), squeeze=False)
    fig.subplots_adjust(0.01, 0.42 / height, 0.99, 1 - 0.55 / height, 0.04, 0.04)
    for row, name in zip(axes, names):
        for ax, (title, folder) in zip(row, columns.items()):
            picture = np.asarray(Image.open(folder / name))
            is_image = title == 'image'
            ax.imshow(picture if is_image else CLASSES.paint(picture), interpolation='nearest')
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if not is_image:
                _write_digits(ax, picture)
    for ax, title in zip(axes[0], columns):
        ax.set_title(title, fontsize=10, color=INK, pad=6, linespacing=1.3)
    patches = [Patch(facecolor=np.array(colour) / 255) for colour in SceneDataset.METAINFO['palette']]
    space = dict(handlelength=1, handleheight=1, handletextpad=0.4, columnspacing=1.1)
    style = dict(frameon=False, fontsize=9, labelcolor=INK, ncol=len(patches), loc='lower center')
    fig.legend(patches, SceneDataset.METAINFO['classes'], **style, **space)
    fig.savefig(out, **PICTURE)


def _write_digits(ax, labels: np.ndarray) -> None:
    """Write the class on each region that has room for it."""
    for k in range(1, len(SceneDataset.METAINFO['classes'])):
        regions, count = ndimage.label(labels == k)
        for region in range(1, count + 1):
            inside = regions == region
            if inside.sum() < labels.size / 120:
                continue
            # in the middle of its widest place
            depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            style = dict(ha='center', va='center', fontsize=11, fontweight='bold', color=CLASSES.ink(k))
            ax.text(x, y, str(k - 1), **style)
