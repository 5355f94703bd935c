"""The demo's two pictures: predictions side by side, and the training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy import ndimage

from demo_parts.results import TrainingLog
from kd_methods.scenes.dataset import SceneDataset
from kd_methods.visualize.predictions import Classes

COLOURS = ('#6b7280', '#d97706', '#2563eb', '#059669', '#9333ea')
INK, FAINT = '#1f2937', '#9ca3af'
CLASSES = Classes(SceneDataset.METAINFO)
PICTURE = dict(dpi=130, facecolor='white')


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


def draw_curves(out: Path, logs: Mapping[str, Sequence[TrainingLog]]) -> None:
    """Draw task loss and validation mIoU over the iterations.

    Args:
        out (Path): PNG file.
        logs (Mapping): Name of an arm -> its runs, one a seed; the first one is drawn strongly.
    """
    fig = Figure(figsize=(10, 4.1), layout='constrained')
    left, right = fig.subplots(1, 2)
    fig.get_layout_engine().set(w_pad=0.12, h_pad=0.08, wspace=0.04)
    for colour, (name, runs) in zip(COLOURS, logs.items()):
        for seed, log in enumerate(runs):
            style = dict(color=colour, lw=1, alpha=0.35) if seed else dict(color=colour, lw=2, label=name)
            if log.loss:
                left.plot(list(log.loss), smooth(list(log.loss.values())), **style)
            if log.miou:
                right.plot(list(log.miou), list(log.miou.values()), marker='o', ms=5, **style)
        if runs[0].miou:
            last = list(runs[0].miou.items())[-1]
            style = dict(color=colour, fontsize=9, fontweight='bold', textcoords='offset points')
            right.annotate(f'{last[1]:.1f}', last, (7, -3), **style)
    titles = 'Training loss of the task (cross-entropy)', 'Validation mIoU'
    for ax, title in zip((left, right), titles):
        ax.set_title(title, fontsize=11, color=INK, loc='left')
        ax.set_xlabel('iteration', color=INK)
        ax.margins(x=0.07, y=0.1)
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator('auto', integer=True))
        ax.grid(axis='y', color='#e5e7eb', lw=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(colors=INK, length=0)
        ax.spines[['top', 'right', 'left']].set_visible(False)
        ax.spines['bottom'].set_color(FAINT)
    right.legend(frameon=False, labelcolor=INK, fontsize=9.5, loc='upper left')
    fig.savefig(out, **PICTURE)


def smooth(values: Sequence[float], part: float = 0.03) -> np.ndarray:
    """Running mean over a part of the curve, narrower at its ends."""
    half = int(len(values) * part)
    return np.array([np.mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


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
