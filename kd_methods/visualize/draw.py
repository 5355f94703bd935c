"""Drawing sheets of panels as PNG files; the only module that draws with matplotlib."""

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from kd_methods.utils.files import atomic_path
from kd_methods.visualize.maps import Panel, Row
from kd_methods.visualize.predictions import IGNORED, Box, Classes

INK, FAINT = '#1f2937', '#6b7280'
DPI = 130
#: Side of a square panel in inches; of others the area stays the same.
SIDE = 2.1
LEFT, TOP, GAP, BAR = 0.42, 0.62, 0.07, 0.62
#: Colour of places without a value (NaN).
HOLE = '#d1d5db'


@dataclass
class Sheet:
    """A picture of rows and columns."""

    heading: str
    titles: list[str]  # of the columns
    rows: list[Row]
    size: tuple[int, int]  # height and width of the image in pixels
    colours: str = 'magma'  # matplotlib's name of a colour map
    bar: str = ''  # what the colours mean; without it there is no colour bar
    marker: tuple[int, int] | None = None  # pixel (x, y) of the image, marked in every panel
    legend: list[int] = field(default_factory=list)  # classes explained below; 255: ignored pixels
    classes: Classes = field(default_factory=lambda: Classes({}))


def draw(sheet: Sheet) -> Figure:
    """Draw a sheet."""
    # all lengths in inches
    aspect = min(max(sheet.size[1] / sheet.size[0], 0.4), 2.5)
    width, height = SIDE * aspect**0.5, SIDE / aspect**0.5
    across = LEFT + len(sheet.titles) * (width + GAP) + (BAR if sheet.bar else 0.05)
    names = ['ignored' if label == IGNORED else sheet.classes.name(label) for label in sheet.legend]
    in_line = max(1, int(across / max(1.05, 0.35 + 0.0625 * max(map(len, names), default=0))))
    heading = textwrap.wrap(sheet.heading, int(12.5 * (across - LEFT)))
    top = TOP - 0.25 * (not any(sheet.titles)) + 0.17 * (len(heading) - 1)
    titled = [0.16 * any(p is not None and p.title for p in row.panels) for row in sheet.rows]
    bottom = 0.12 + 0.22 * -(-len(names) // in_line)
    down = top + len(sheet.rows) * (height + GAP) + sum(titled) + bottom
    fig = Figure(figsize=(across, down), dpi=DPI, facecolor='white')

    def write(x: float, y: float, text: str, **style) -> None:
        fig.text(x, y, text, color=INK, transform=fig.dpi_scale_trans, **style)

    def axes(x: float, y: float, width: float, height: float) -> Axes:
        return fig.add_axes((x / across, y / down, width / across, height / down))

    write(LEFT, down - 0.1, '\n'.join(heading), fontsize=9.5, va='top')
    for column, title in enumerate(sheet.titles):
        x = LEFT + column * (width + GAP) + width / 2
        write(x, down - top + 0.09, title, ha='center', va='bottom', fontsize=10)
    y = down - top
    for row, extra in zip(sheet.rows, titled):
        y -= height + extra
        places = [(LEFT + column * (width + GAP), y, width, height) for column in range(len(row.panels))]
        drawn = [_draw_panel(axes(*at), panel, row, sheet) for at, panel in zip(places, row.panels)]
        style = dict(ha='center', va='center', fontsize=8.5, linespacing=1.4)
        write(0.2, y + height / 2, row.label, rotation=90, **style)
        coloured = [mappable for mappable in drawn if mappable is not None]
        if sheet.bar and row.scale is not None and coloured:
            _draw_bar(axes(across - BAR + 0.06, y + 0.06, 0.09, height - 0.12), coloured[-1], row, sheet.bar)
        y -= GAP
    if names:
        _draw_legend(fig, sheet, names, in_line)
    return fig


def save(figure: Figure, path: Path) -> Path:
    """Write a figure; the file is there whole or not at all."""
    with atomic_path(path) as part:
        figure.savefig(part, format='png', dpi=DPI)
    return path


def _draw_panel(ax: Axes, panel: Panel | None, row: Row, sheet: Sheet) -> Any:
    """Draw a panel; returns what a colour bar needs, of a map of values."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if panel is None:
        return ax.set_facecolor('none')
    is_map = panel.array.ndim == 2
    # Places and enlarged pixels keep their edges; a large photograph is made smaller, smoothly.
    large = not is_map and min(panel.array.shape[:2]) > SIDE * DPI
    style = dict(interpolation='antialiased' if large else 'nearest')
    if is_map:
        low, high = row.scale or (float(panel.array.min()), float(panel.array.max()))
        colours = matplotlib.colormaps[sheet.colours].with_extremes(bad=HOLE)
        style.update(cmap=colours, vmin=low, vmax=high if high > low else low + 1)
    image = ax.imshow(panel.array, extent=(0, panel.cover[1], panel.cover[0], 0), **style)
    if panel.title:
        ax.set_title(panel.title, fontsize=7.5, color=FAINT, pad=2.5)
    if panel.outline is not None:
        _draw_borders(ax, panel.outline, sheet.size)
    for box in sorted(panel.boxes, key=lambda box: box.score or 0):
        _draw_box(ax, box, panel, sheet)
    if sheet.marker is not None:
        x, y = (v + 0.5 for v in sheet.marker)
        ax.plot(x, y, '+', ms=9, mew=2.8, color='white')
        ax.plot(x, y, '+', ms=8, mew=1.3, color='#e11d48')
    ax.set(xlim=(0, sheet.size[1]), ylim=(sheet.size[0], 0), aspect='auto')
    return image if is_map else None


def _thinned(labels: np.ndarray) -> np.ndarray:
    """A label map or mask of at most about 400 pixels a side: finer lines than that cannot be seen."""
    return labels[:: max(1, labels.shape[0] // 400), :: max(1, labels.shape[1] // 400)]


def _draw_borders(ax: Axes, labels: np.ndarray, size: tuple[int, int]) -> None:
    """Draw where a label map changes, along the edges of its pixels."""
    labels = _thinned(labels)
    lines = [((x, y + 1), (x + 1, y + 1)) for y, x in np.argwhere(labels[1:] != labels[:-1])]
    lines += [((x + 1, y), (x + 1, y + 1)) for y, x in np.argwhere(labels[:, 1:] != labels[:, :-1])]
    lines = np.reshape(lines, (-1, 2, 2)) * (size[1] / labels.shape[1], size[0] / labels.shape[0])
    for width, colour in ((2.4, 'black'), (1.1, 'white')):
        style = dict(linewidths=width, colors=colour, capstyle='round')
        ax.add_collection(LineCollection(lines, **style), autolim=False)


def _draw_box(ax: Axes, box: Box, panel: Panel, sheet: Sheet) -> None:
    """Draw an object: its mask, its box, and its class and score at the upper left."""
    height, width = sheet.size
    colour = np.array(sheet.classes.colour(box.label)) / 255
    x, y = 0.0, 0.0
    if box.mask is not None:
        x, y = _draw_mask(ax, box.mask, colour, panel.cover)
    if box.corners is not None:
        x, y, right, bottom = box.corners
        style = dict(fill=False, lw=1.6, edgecolor=colour, linestyle='--' if box.ignored else '-')
        ax.add_patch(Rectangle((x, y), right - x, bottom - y, **style))
    text = sheet.classes.name(box.label)
    text += ' (ignored)' if box.ignored else '' if box.score is None else f' {box.score:.2f}'
    # above its box, or inside where the image ends above it
    room = height * 0.13 / (ax.get_position().height * ax.figure.get_figheight())  # of a line of text
    style = dict(va='bottom') if y > room else dict(va='top')
    y = y if y > room else max(y, 0) + room / 5
    back = dict(facecolor=colour, edgecolor='none', pad=0.8)
    style.update(fontsize=6.5, clip_on=True, color=sheet.classes.ink(box.label), bbox=back)
    ax.text(min(max(x, 0), width), y, text, **style)


def _draw_mask(ax: Axes, mask: np.ndarray, colour: np.ndarray, cover: tuple[float, float]) -> tuple:
    """Tint a mask and draw its outline; returns x and y of its first pixel."""
    mask = _thinned(mask)
    down, across = (whole / n for whole, n in zip(cover, mask.shape))
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask] = [*(255 * colour).round().astype(int), 115]
    ax.imshow(layer, extent=(0, cover[1], cover[0], 0), interpolation='nearest')
    if mask.any() and not mask.all():
        ys, xs = ((np.arange(n) + 0.5) * step for n, step in zip(mask.shape, (down, across)))
        ax.contour(xs, ys, mask, levels=[0.5], colors=[colour], linewidths=1)
    row, column = np.argwhere(mask)[0] if mask.any() else (0, 0)
    return float(column) * across, float(row) * down


def _draw_bar(ax: Axes, mappable: Any, row: Row, label: str) -> None:
    beyond = any((p.array > row.scale[1]).any() for p in row.panels if p is not None and p.array.ndim == 2)
    bar = ax.figure.colorbar(mappable, cax=ax, extend='max' if beyond else 'neither', extendfrac=0.04)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1.5, colors=INK)
    bar.ax.locator_params(nbins=4)
    bar.set_label(label, fontsize=6.5, color=FAINT, labelpad=2)


def _draw_legend(fig: Figure, sheet: Sheet, names: list[str], in_line: int) -> None:
    patches = [Patch(facecolor=np.array(sheet.classes.colour(label)) / 255) for label in sheet.legend]
    if sheet.legend[-1] == IGNORED:
        patches[-1] = Patch(facecolor='#ebebeb', edgecolor='#a5a5a5', hatch='/' * 6, linewidth=0)
    style = dict(handlelength=1, handleheight=1, handletextpad=0.4, columnspacing=1.1, labelcolor=INK)
    place = dict(loc='lower center', frameon=False, fontsize=7.5, ncol=min(len(names), in_line))
    fig.legend(patches, names, **place, **style)
