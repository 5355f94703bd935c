"""Pictures of a comparison: values and gains, and curves of training."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kd_methods.experiments.logs import TrainingLog
from kd_methods.experiments.summary import Row, figure_form, interval

COLOURS = ('#6b7280', '#d97706', '#2563eb', '#059669', '#9333ea')
INK, FAINT = '#1f2937', '#9ca3af'
PICTURE = dict(dpi=130, facecolor='white')


def draw_comparison(out: Path, rows: Sequence[Row], metric: str, baseline: str | None, title: str) -> None:
    """Draw a comparison: a dot for each seed, the mean, and its 95 % interval; the baseline as a line.

    Args:
        out (Path): PNG file.
        rows (Sequence[Row]): The arms, drawn from top to bottom.
        metric (str): Name of the axis.
        baseline (str | None): The arm whose mean is the line.
        title (str): Above the picture.
    """
    fig = Figure(figsize=(8.5, 1.3 + 0.36 * len(rows)), layout='constrained')
    ax = fig.subplots()
    style(ax, title, metric)
    ax.grid(axis='y', visible=False)
    ax.grid(axis='x', color='#e5e7eb', lw=0.8)
    form = {'.2f': '.1f', '.4f': '.3f'}[figure_form(rows)]
    for y, row in enumerate(rows):
        if not row.values:
            continue
        colour = COLOURS[0] if row.arm == baseline else COLOURS[2]
        mean = interval(list(row.values.values()))
        if mean.low is not None:
            ax.plot([mean.low, mean.high], [y, y], color=colour, lw=5, alpha=0.25, solid_capstyle='butt')
        ax.plot(list(row.values.values()), [y] * len(row.values), 'o', ms=4, color=colour, alpha=0.55, mew=0)
        ax.plot([mean.mean], [y], '|', ms=15, mew=2.5, color=colour)
        note = '' if row.gain is None else f'  {row.gain.mean:+{form}}'
        ax.annotate(
            f'{mean.mean:{form}}{note}',
            (1.01, y),
            xycoords=('axes fraction', 'data'),
            va='center',
            fontsize=9,
            color=INK,
            annotation_clip=False,
        )
        if row.arm == baseline:
            ax.axvline(mean.mean, color=FAINT, lw=1, ls='--', zorder=0)
    ax.set_yticks(range(len(rows)), [row.arm for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    fig.savefig(out, **PICTURE)


def draw_curves(out: Path, logs: Mapping[str, Sequence[TrainingLog]], metric: str) -> None:
    """Draw task loss and a metric of the validations over training: the mean over seeds, with their range.

    Args:
        out (Path): PNG file.
        logs (Mapping[str, Sequence[TrainingLog]]): Arm -> its runs.
        metric (str): The metric.
    """
    fig = Figure(figsize=(11, 3.8), layout='constrained')
    left, right = fig.subplots(1, 2)
    style(left, 'Task loss', 'iteration')
    style(right, f'Validation {metric}', 'iteration')
    for (name, runs), colour in zip(logs.items(), itertools.cycle(COLOURS)):
        for ax, curves, marker in (
            (left, [run.loss for run in runs], ''),
            (right, [run.metrics.get(metric, {}) for run in runs], 'o'),
        ):
            steps = sorted(set.intersection(*map(set, curves))) if curves else []
            if not steps:
                continue
            values = np.array([[curve[step] for step in steps] for curve in curves])
            if ax is left:
                values = np.array([smooth(row) for row in values])
            ax.plot(steps, values.mean(0), color=colour, lw=1.8, marker=marker, ms=3.5, label=name)
            if marker:
                words = dict(color=colour, fontsize=9, fontweight='bold', textcoords='offset points')
                last = values.mean(0)[-1]
                ax.annotate(f'{last:.1f}', (steps[-1], last), (7, -3), **words)
            if len(values) > 1:
                ax.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
    for ax in (left, right):
        ax.margins(x=0.07, y=0.1)
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
    right.legend(frameon=False, labelcolor=INK, fontsize=9.5, loc='upper left')
    fig.savefig(out, **PICTURE)


def style(ax: Any, title: str, xlabel: str) -> None:
    """The look of all axes."""
    ax.set_title(title, loc='left', color=INK, fontsize=11)
    ax.set_xlabel(xlabel, color=INK)
    ax.xaxis.set_major_locator(MaxNLocator('auto', integer=xlabel == 'iteration'))
    ax.grid(axis='y', color='#e5e7eb', lw=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, length=0)
    ax.spines[['top', 'right', 'left']].set_visible(False)
    ax.spines['bottom'].set_color(FAINT)


def smooth(values: Sequence[float], part: float = 0.03) -> np.ndarray:
    """Running mean over a part of the curve, narrower at its ends."""
    half = int(len(values) * part)
    return np.array([np.mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])
