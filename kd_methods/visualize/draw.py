"""Drawing: panels to PNG files. The only part that knows matplotlib, which is imported when something is
drawn.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kd_methods.utils.files import atomic_path
from kd_methods.visualize.maps import Panel, Row
from kd_methods.visualize.predictions import IGNORED, Classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

INK, FAINT = '#1f2937', '#6b7280'
DPI = 130
#: Side of a square panel in inches; of others the area stays the same.
SIDE = 2.1
LEFT, TOP, GAP, BAR = 0.42, 0.62, 0.07, 0.62
#: Colour of places without a value (NaN).
HOLE = '#d1d5db'


@dataclass
class Page:
    """A picture of rows and columns.

    Attributes:
        heading (str): What the picture shows.
        titles (list[str]): Headings of the columns.
        rows (list[Row]): The rows, with one panel a column.
        size (tuple[int, int]): Height and width of the image in pixels.
        colours (str): Name of matplotlib's colour map. Defaults to 'magma'.
        bar (str): What the colours mean; without it there is no colour bar. Defaults to ''.
        marker (tuple[int, int] | None): Pixel (x, y) of the image that is marked in every panel. Defaults to
            None.
        legend (list[int]): Classes that are explained below; 255 stands for ignored pixels. Defaults to none.
        classes (Classes | None): Their names and colours. Defaults to None.
    """

    heading: str
    titles: list[str]
    rows: list[Row]
    size: tuple[int, int]
    colours: str = 'magma'
    bar: str = ''
    marker: tuple[int, int] | None = None
    legend: list[int] = field(default_factory=list)
    classes: Classes | None = None


def draw(page: Page) -> Figure:
    """Draw a page."""
    from matplotlib.figure import Figure

    aspect = min(max(page.size[1] / page.size[0], 0.4), 2.5)
    width, height = SIDE * aspect**0.5, SIDE / aspect**0.5
    across = LEFT + len(page.titles) * (width + GAP) + (BAR if page.bar else 0.05)
    lines = -(-len(page.legend) // _legend_columns(page, across))
    bottom = 0.12 + 0.22 * lines
    titled = [0.16 if any(p is not None and p.title for p in row.panels) else 0 for row in page.rows]
    heading = textwrap.wrap(page.heading, int(12.5 * (across - LEFT)))
    top = (TOP if any(page.titles) else TOP - 0.25) + 0.17 * (len(heading) - 1)
    down = top + len(page.rows) * (height + GAP) + sum(titled) + bottom
    fig = Figure(figsize=(across, down), dpi=DPI, facecolor='white')
    fig.text(LEFT / across, 1 - 0.1 / down, '\n'.join(heading), fontsize=9.5, color=INK, va='top')
    y = down - top
    for number, (row, extra) in enumerate(zip(page.rows, titled)):
        y -= height + extra
        scaled = None
        for column, panel in enumerate(row.panels):
            x = LEFT + column * (width + GAP)
            ax = fig.add_axes((x / across, y / down, width / across, height / down))
            mappable = _draw_panel(ax, panel, row, page)
            scaled = scaled if mappable is None else mappable
            if number == 0:
                title_y = (y + height + extra + 0.09) / down
                fig.text(
                    (x + width / 2) / across,
                    title_y,
                    page.titles[column],
                    ha='center',
                    va='bottom',
                    fontsize=10,
                    color=INK,
                )
        if row.label:
            fig.text(
                0.2 / across,
                (y + height / 2) / down,
                row.label,
                rotation=90,
                ha='center',
                va='center',
                fontsize=8.5,
                color=INK,
                linespacing=1.4,
            )
        if page.bar and row.scale is not None and scaled is not None:
            ax = fig.add_axes(
                ((across - BAR + 0.06) / across, (y + 0.06) / down, 0.09 / across, (height - 0.12) / down)
            )
            _bar(fig, ax, scaled, row, page.bar)
        y -= GAP
    _legend(fig, page)
    return fig


def save(figure: Figure, path: Path) -> Path:
    """Write a figure; the file is there whole or not at all."""
    with atomic_path(path) as part:
        figure.savefig(part, format='png', dpi=DPI)
    return path


def _draw_panel(ax: Axes, panel: Panel | None, row: Row, page: Page):
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if panel is None:
        ax.set_facecolor('none')
        return None
    height, width = panel.cover
    options = {}
    if panel.array.ndim == 2:
        low, high = row.scale or (float(panel.array.min()), float(panel.array.max()))
        options = dict(cmap=_colours(page.colours), vmin=low, vmax=high if high > low else low + 1)
    # In an enlarged panel every place or pixel shall be seen as it is; a large photograph is made smaller,
    # smoothly.
    large = panel.array.ndim == 3 and min(panel.array.shape[:2]) > SIDE * DPI
    image = ax.imshow(
        panel.array,
        extent=(0, width, height, 0),
        interpolation='antialiased' if large else 'nearest',
        **options,
    )
    ax.set(xlim=(0, page.size[1]), ylim=(page.size[0], 0), aspect='auto')
    if panel.title:
        ax.set_title(panel.title, fontsize=7.5, color=FAINT, pad=2.5)
    if panel.outline is not None:
        _draw_borders(ax, panel.outline, page.size)
    if panel.boxes:
        _draw_boxes(ax, panel, page)
    if page.marker is not None:
        x, y = (v + 0.5 for v in page.marker)
        ax.plot(x, y, '+', ms=9, mew=2.8, color='white')
        ax.plot(x, y, '+', ms=8, mew=1.3, color='#e11d48')
    return image if options else None


def _colours(name: str) -> Colormap:
    import matplotlib

    return matplotlib.colormaps[name].with_extremes(bad=HOLE)


def _draw_borders(ax: Axes, labels: np.ndarray, size: tuple[int, int]) -> None:
    """Draw where a label map changes, along the edges of its pixels."""
    from matplotlib.collections import LineCollection

    labels = labels[
        :: max(1, labels.shape[0] // 400), :: max(1, labels.shape[1] // 400)
    ]  # finer than that nobody sees
    down, across = (whole / n for whole, n in zip(size, labels.shape))
    rows, columns = np.nonzero(labels[1:] != labels[:-1])
    lines = [
        ((x * across, (y + 1) * down), ((x + 1) * across, (y + 1) * down)) for y, x in zip(rows, columns)
    ]
    rows, columns = np.nonzero(labels[:, 1:] != labels[:, :-1])
    lines += [
        (((x + 1) * across, y * down), ((x + 1) * across, (y + 1) * down)) for y, x in zip(rows, columns)
    ]
    for width, colour in ((2.4, 'black'), (1.1, 'white')):
        ax.add_collection(
            LineCollection(lines, linewidths=width, colors=colour, capstyle='round'), autolim=False
        )


def _draw_boxes(ax: Axes, panel: Panel, page: Page) -> None:
    from matplotlib.patches import Rectangle

    height, width = page.size
    room = height * 0.13 / (ax.get_position().height * ax.figure.get_figheight())  # of a line of text
    for box in sorted(panel.boxes, key=lambda box: box.score or 0):
        colour = np.array(page.classes.colour(box.label)) / 255
        at = (0.0, 0.0)
        if box.mask is not None:
            at = _draw_mask(ax, box.mask, colour, panel.cover)
        if box.corners is not None:
            x1, y1, x2, y2 = box.corners
            ax.add_patch(
                Rectangle(
                    (x1, y1),
                    x2 - x1,
                    y2 - y1,
                    fill=False,
                    lw=1.6,
                    edgecolor=colour,
                    linestyle='--' if box.ignored else '-',
                )
            )
            at = x1, y1
        text = page.classes.name(box.label) + (
            ' (ignored)' if box.ignored else '' if box.score is None else f' {box.score:.2f}'
        )
        # Above its box, or inside where the image ends above it.
        y, side = (at[1], 'bottom') if at[1] > room else (max(at[1], 0) + room / 5, 'top')
        ax.text(
            min(max(at[0], 0), width),
            y,
            text,
            fontsize=6.5,
            va=side,
            clip_on=True,
            color=page.classes.ink(box.label),
            bbox=dict(facecolor=colour, edgecolor='none', pad=0.8),
        )
    ax.set(xlim=(0, width), ylim=(height, 0), aspect='auto')


def _draw_mask(
    ax: Axes, mask: np.ndarray, colour: np.ndarray, cover: tuple[float, float]
) -> tuple[float, float]:
    """Tint a mask and draw its outline; returns x and y of its first pixel."""
    mask = mask[
        :: max(1, mask.shape[0] // 400), :: max(1, mask.shape[1] // 400)
    ]  # finer than that nobody sees
    down, across = (whole / n for whole, n in zip(cover, mask.shape))
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask] = [*(255 * colour).round().astype(int), 115]
    ax.imshow(layer, extent=(0, cover[1], cover[0], 0), interpolation='nearest')
    if mask.any() and not mask.all():
        ys, xs = ((np.arange(n) + 0.5) * step for n, step in zip(mask.shape, (down, across)))
        ax.contour(xs, ys, mask, levels=[0.5], colors=[colour], linewidths=1)
    row, column = np.argwhere(mask)[0] if mask.any() else (0, 0)
    return float(column) * across, float(row) * down


def _bar(fig: Figure, ax: Axes, mappable, row: Row, label: str) -> None:
    beyond = any((p.array > row.scale[1]).any() for p in row.panels if p is not None and p.array.ndim == 2)
    bar = fig.colorbar(mappable, cax=ax, extend='max' if beyond else 'neither', extendfrac=0.04)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1.5, colors=INK)
    bar.ax.locator_params(nbins=4)
    bar.set_label(label, fontsize=6.5, color=FAINT, labelpad=2)


def _legend_columns(page: Page, across: float) -> int:
    """How many names fit beside one another, in a page of so many inches."""
    longest = max((len(_legend_name(page, label)) for label in page.legend), default=0)
    return max(1, int(across / max(1.05, 0.35 + 0.0625 * longest)))


def _legend_name(page: Page, label: int) -> str:
    return 'ignored' if label == IGNORED else page.classes.name(label)


def _legend(fig: Figure, page: Page) -> None:
    if not page.legend:
        return
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor='#ebebeb', edgecolor='#a5a5a5', hatch='/' * 6, linewidth=0)
        if label == IGNORED
        else Patch(facecolor=np.array(page.classes.colour(label)) / 255)
        for label in page.legend
    ]
    fig.legend(
        patches,
        [_legend_name(page, label) for label in page.legend],
        loc='lower center',
        frameon=False,
        fontsize=7.5,
        ncol=min(len(patches), _legend_columns(page, fig.get_figwidth())),
        handlelength=1,
        handleheight=1,
        handletextpad=0.4,
        columnspacing=1.1,
        labelcolor=INK,
    )
