"""The demo's two pictures: predictions side by side, and the training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kd_methods.demo.logs import TrainingLog
from kd_methods.scenes.dataset import SceneDataset
from kd_methods.visualize.predictions import Classes

COLOURS = ('#6b7280', '#d97706', '#2563eb', '#059669', '#9333ea')
INK, FAINT = '#1f2937', '#9ca3af'
CLASSES = Classes(SceneDataset.METAINFO)


def draw_predictions(out: Path, scenes: Path, predictions: Mapping[str, Path], rows: int = 6) -> None:
    """Draw scenes, their truth and what each network says, one scene a row.

    Args:
        out (Path): PNG file.
        scenes (Path): Folder of the scenes; rows are spread evenly over its `val` part, whatever they look
            like.
        predictions (Mapping): Heading of a column -> folder of predicted label maps.
        rows (int): Defaults to 6.
    """
    plt = _pyplot()
    names = sorted(p.name for p in (scenes / 'val' / 'images').glob('*.png'))
    names = [
        names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(rows, len(names))).round().astype(int))
    ]
    columns = {'image': scenes / 'val' / 'images', 'truth': scenes / 'val' / 'labels', **predictions}
    height, cell = len(names) * 1.55, 1.55
    fig, axes = plt.subplots(
        len(names), len(columns), squeeze=False, figsize=(cell * len(columns) + 0.1, height + 1.05)
    )
    fig.subplots_adjust(
        left=0.01,
        right=0.99,
        bottom=0.42 / (height + 1.05),
        top=1 - 0.55 / (height + 1.05),
        wspace=0.04,
        hspace=0.04,
    )
    for row, name in zip(axes, names):
        for ax, (title, folder) in zip(row, columns.items()):
            picture = np.asarray(Image.open(folder / name))
            ax.imshow(picture if title == 'image' else painted(picture), interpolation='nearest')
            if title != 'image':
                _write_digits(ax, picture)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    for ax, title in zip(axes[0], columns):
        ax.set_title(title, fontsize=10, color=INK, pad=6, linespacing=1.3)
    _legend(fig)
    fig.savefig(out, dpi=130, facecolor='white')
    plt.close(fig)


def draw_curves(out: Path, logs: Mapping[str, Sequence[TrainingLog]]) -> None:
    """Draw task loss and validation mIoU over the iterations.

    Args:
        out (Path): PNG file.
        logs (Mapping): Name of an arm -> its runs, one a seed; the first one is drawn strongly.
    """
    plt = _pyplot()
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.1), layout='constrained')
    fig.get_layout_engine().set(w_pad=0.12, h_pad=0.08, wspace=0.04)
    ends: list[tuple] = []
    for colour, (name, runs) in zip(COLOURS, logs.items()):
        for number, log in enumerate(runs):
            style = dict(color=colour, lw=2 if number == 0 else 1, alpha=1 if number == 0 else 0.35)
            if log.loss:
                left.plot(list(log.loss), smooth(list(log.loss.values())), **style)
            if log.miou:
                label = name if number == 0 else None
                right.plot(list(log.miou), list(log.miou.values()), marker='o', ms=5, label=label, **style)
                ends += (
                    [(right, list(log.miou)[-1], list(log.miou.values())[-1], colour)] if number == 0 else []
                )
    for ax, x, y, colour in ends:
        ax.annotate(
            f'{y:.1f}',
            (x, y),
            (7, -3),
            textcoords='offset points',
            color=colour,
            fontsize=9,
            fontweight='bold',
        )
    left.set_title('Training loss of the task (cross-entropy)', fontsize=11, color=INK, loc='left')
    right.set_title('Validation mIoU', fontsize=11, color=INK, loc='left')
    for ax in (left, right):
        ax.set_xlabel('iteration', color=INK)
        ax.margins(x=0.07, y=0.1)
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(plt.MaxNLocator('auto', integer=True))
        ax.grid(axis='y', color='#e5e7eb', lw=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(colors=INK, length=0)
        ax.spines[['top', 'right', 'left']].set_visible(False)
        ax.spines['bottom'].set_color(FAINT)
    right.legend(frameon=False, labelcolor=INK, fontsize=9.5, loc='upper left')
    fig.savefig(out, dpi=130, facecolor='white')
    plt.close(fig)


def painted(label: np.ndarray) -> np.ndarray:
    """Colours of a label map, H x W x 3; ignored pixels are white."""
    return CLASSES.paint(label)


def smooth(values: Sequence[float], share: float = 0.03) -> np.ndarray:
    """Running mean over a share of the curve, as wide at its ends as there are values."""
    values = np.asarray(values, float)
    half = int(len(values) * share)
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def _write_digits(ax, label: np.ndarray) -> None:
    """Write the class on each region that has room for it."""
    from scipy import ndimage

    least = label.size / 120
    for k in range(1, len(SceneDataset.METAINFO['classes'])):
        regions, count = ndimage.label(label == k)
        for region in range(1, count + 1):
            inside = regions == region
            if inside.sum() < least:
                continue
            depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(depth.argmax(), depth.shape)  # the middle of its widest place
            ax.text(
                x,
                y,
                str(k - 1),
                ha='center',
                va='center',
                fontsize=11,
                fontweight='bold',
                color=CLASSES.ink(k),
            )


def _legend(fig) -> None:
    from matplotlib.patches import Patch

    classes, palette = SceneDataset.METAINFO['classes'], SceneDataset.METAINFO['palette']
    fig.legend(
        [Patch(facecolor=np.array(c) / 255) for c in palette],
        classes,
        loc='lower center',
        ncol=len(classes),
        frameon=False,
        fontsize=9,
        handlelength=1,
        handleheight=1,
        handletextpad=0.4,
        columnspacing=1.1,
        labelcolor=INK,
    )


def _pyplot():
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    return plt
