"""Arrays drawn of feature maps: boundaries, self-relation of a pixel, magnitudes, principal components."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kd_methods.ops.boundaries import boundary_map, fuse_boundaries
from kd_methods.ops.relations import self_relation
from kd_methods.visualize.recording import FeatureMap


@dataclass
class Panel:
    """One map or picture."""

    array: np.ndarray  # h x w values, or h x w x 3 colours (uint8)
    cover: tuple[float, float]  # height and width of the part of the image that it covers, in its pixels
    title: str = ''
    boxes: list = field(default_factory=list)  # `predictions.Box` that are drawn on it
    labels: list[int] = field(default_factory=list)  # classes whose colours it has, for a legend
    outline: np.ndarray | None = None  # label map whose borders are drawn on it


@dataclass
class Row:
    """Panels side by side, one a network; None where a network has none."""

    label: str
    panels: list[Panel | None]
    scale: tuple[float, float] | None = None  # values of first and last colour; None: each panel's extremes


Maps = Sequence[Sequence[FeatureMap | None]]  # one list a network, with one map a tap


def boundary_rows(labels: Sequence[str], maps: Maps) -> list[Row]:
    """Boundary maps of each tap, and below them, where there are several taps, the mean over them.

    The values are distances from 0 to 1. Places that see padding alone have no part in them.
    """
    rows = _rows(labels, maps, lambda m: _panel(boundary_map(m.data, valid=_valid(m)), m))
    if len(labels) > 1:
        means = []
        for network in maps:
            there = [m for m in network if m is not None]
            valid = [_valid(m) for m in there]
            drawn = [boundary_map(m.data, valid=v) for m, v in zip(there, valid)]
            means.append(_panel(fuse_boundaries(drawn, valid=valid), there[0]) if there else None)
        rows.append(Row('mean of all', means))
    return _scaled(rows, 1)


def relation_rows(labels: Sequence[str], maps: Maps, pixel: tuple[int, int], tau: float = 0.1) -> list[Row]:
    """How strongly the place of one pixel (x, y) is related to each place of the image, for each tap.

    This is the row of that place in the self-relation, times the number of places, so that maps of different
    sizes compare: 1 is what every place would have if all were alike. Padding has no part in it.
    """

    def relation(m: FeatureMap) -> Panel:
        inside = m.inside()
        rows, columns = inside.shape[-2:]
        row, column = m.geometry.place(pixel, m.size)
        found = self_relation(inside.flatten(2).mT, tau, [row * columns + column])
        return Panel((found * rows * columns).view(rows, columns).numpy(), m.geometry.cover(m.size))

    return _scaled(_rows(labels, maps, relation), 0.98)  # the place itself stands far above all others


def feature_rows(labels: Sequence[str], maps: Maps) -> list[Row]:
    """Two rows a tap: the mean magnitude over channels, and three principal components as colours.

    Both compare within a panel alone: each network has its own unit of length and its own components.
    """

    def magnitude(m: FeatureMap) -> Panel:
        return _panel(m.data.abs().mean(1, keepdim=True), m)

    def components(m: FeatureMap) -> Panel:
        return Panel(principal_colours(m.inside()[0]), m.geometry.cover(m.size))

    kinds = dict(magnitude=magnitude, components=components)
    drawn = [_rows([f'{label}\n{kind}' for label in labels], maps, f) for kind, f in kinds.items()]
    return [row for pair in zip(*drawn) for row in pair]


def principal_colours(x: Tensor) -> np.ndarray:
    """The first three principal components of a map as red, green and blue: C x h x w -> h x w x 3, uint8.

    Each is stretched between its 2nd and 98th percentile, and has the sign that makes its largest weight
    positive. Components that the map lacks are black.
    """
    flat = x.flatten(1).T.double()  # places x channels
    flat = flat - flat.mean(0)
    _, strength, axes = torch.linalg.svd(flat, full_matrices=False)
    axes = axes[:3] * axes[:3].gather(1, axes[:3].abs().argmax(1, keepdim=True)).sign()
    # the rounding of a constant map is no component
    scores = flat @ axes.T * (strength[:3] > 1e-9 * strength[:1].clamp(min=1e-300))
    low, high = (torch.quantile(scores, q, dim=0) for q in (0.02, 0.98))
    scores = ((scores - low) / (high - low).clamp(min=1e-300)).clamp(0, 1) * (high > low)
    colours = np.zeros((*x.shape[1:], 3), np.uint8)
    colours[..., : scores.shape[1]] = (255 * scores).round().to(torch.uint8).view(*x.shape[1:], -1).numpy()
    return colours


def _rows(labels: Sequence[str], maps: Maps, draw: Callable[[FeatureMap], Panel]) -> list[Row]:
    """One row a tap, one panel a network."""
    panels = [[None if m is None else draw(m) for m in network] for network in maps]
    return [Row(label, list(row)) for label, row in zip(labels, zip(*panels))]


def _scaled(rows: list[Row], quantile: float) -> list[Row]:
    """Give each row one scale, from 0 to the largest quantile among its panels."""
    for row in rows:
        tops = [float(np.quantile(p.array, quantile)) for p in row.panels if p is not None]
        row.scale = (0.0, max(tops, default=1.0) or 1.0)
    return rows


def _valid(m: FeatureMap) -> Tensor:
    """Which places see the image, 1 x 1 x h x w."""
    rows, columns = m.geometry.kept(m.size)
    valid = torch.zeros_like(m.data[:, :1], dtype=torch.bool)
    valid[..., :rows, :columns] = True
    return valid


def _panel(values: Tensor, m: FeatureMap) -> Panel:
    """Values 1 x 1 x h x w of one network's places, without its padding."""
    size = tuple(values.shape[-2:])
    rows, columns = m.geometry.kept(size)
    return Panel(values[0, 0, :rows, :columns].numpy(), m.geometry.cover(size))
