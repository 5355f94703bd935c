"""What is drawn of feature maps, as arrays: boundaries, the self-relation of a pixel, magnitudes and
principal components.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kd_methods.ops.boundaries import boundary_map, fuse_boundaries
from kd_methods.ops.relations import self_relation
from kd_methods.visualize.recording import FeatureMap


@dataclass
class Panel:
    """One map or picture.

    Attributes:
        array (np.ndarray): h x w values, or h x w x 3 colours (uint8).
        cover (tuple[float, float]): Height and width of the part of the image that it covers, in the image's
            pixels.
        title (str): Its own heading. Defaults to ''.
        boxes (list): What is drawn on it, of :class:`~kd_methods.visualize.predictions.Box`. Defaults to
            none.
        labels (list[int]): Classes whose colours it has, for a legend. Defaults to none.
        outline (np.ndarray | None): Label map whose borders are drawn on it. Defaults to None.
    """

    array: np.ndarray
    cover: tuple[float, float]
    title: str = ''
    boxes: list = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    outline: np.ndarray | None = None


@dataclass
class Row:
    """Panels beside one another, one a network; None where a network has none.

    Attributes:
        label (str): Its name.
        panels (list[Panel | None]): One a column.
        scale (tuple[float, float] | None): Values of the first and the last colour, for all panels of the
            row; None: from the least to the largest value of each panel by itself. Of no meaning for colours.
    """

    label: str
    panels: list[Panel | None]
    scale: tuple[float, float] | None = None


Maps = Sequence[Sequence[FeatureMap | None]]


def boundary_rows(labels: Sequence[str], maps: Maps) -> list[Row]:
    """Boundary maps of each tap, and below them, where there are several taps, the mean over them.

    The values are distances from 0 to 1 (:func:`~kd_methods.ops.boundaries.boundary_map`). Places that see
    padding alone have no part in them.

    Args:
        labels (Sequence[str]): Names of the taps.
        maps (Maps): One list a network, with one map a tap.
    """
    drawn = [
        [None if m is None else boundary_map(m.data, valid=_valid(m)) for m in network] for network in maps
    ]
    rows = [
        Row(label, [None if b[i] is None else _panel(b[i], m[i]) for b, m in zip(drawn, maps)])
        for i, label in enumerate(labels)
    ]
    if len(labels) > 1:
        rows.append(Row('mean of all', [_fused(b, m) for b, m in zip(drawn, maps)]))
    return _scaled(rows, 1)


def relation_rows(labels: Sequence[str], maps: Maps, pixel: tuple[int, int], tau: float = 0.1) -> list[Row]:
    """How much the place of one pixel has to do with each place of the image, for each tap.

    It is the row of that place in the self-relation (:func:`~kd_methods.ops.relations.self_relation`), times
    the number of places, so that maps of different sizes compare: 1 is what every place would have if all
    were alike. Places that see padding alone have no part in it.

    Args:
        labels (Sequence[str]): Names of the taps.
        maps (Maps): One list a network, with one map a tap.
        pixel (tuple[int, int]): x and y in the image.
        tau (float): Temperature. Defaults to 0.1.
    """
    rows = [
        Row(label, [None if m[i] is None else _relation(m[i], pixel, tau) for m in maps])
        for i, label in enumerate(labels)
    ]
    return _scaled(rows, 0.98)  # the place itself stands far above all others


def feature_rows(labels: Sequence[str], maps: Maps) -> list[Row]:
    """For each tap two rows: the mean magnitude over channels, and the first three principal components as
    red, green, blue.

    Neither compares between networks, only within a panel: each network has its own unit of length, and its
        own components.
    """
    rows = []
    for i, label in enumerate(labels):
        present = [m[i] for m in maps]
        rows.append(
            Row(
                f'{label}\nmagnitude',
                [None if m is None else _panel(m.data.abs().mean(1, keepdim=True), m) for m in present],
            )
        )
        rows.append(Row(f'{label}\ncomponents', [None if m is None else _components(m) for m in present]))
    return rows


def principal_colours(x: Tensor) -> np.ndarray:
    """The first three principal components of a map as colours, each stretched between its 2nd and 98th
    percentile.

    A component's sign is free; it is chosen so that its largest weight is positive.

    Shape:
        - x: (C, h, w); output: (h, w, 3), uint8. What a map of less than three components lacks is black.
    """
    flat = x.flatten(1).T.double()
    flat = flat - flat.mean(0)
    # Of a map of few places the matrix of places is the smaller one.
    _, strength, axes = torch.linalg.svd(flat, full_matrices=False)
    axes = axes[:3] * axes[:3].gather(1, axes[:3].abs().argmax(1, keepdim=True)).sign()
    scores = flat @ axes.T
    scores = scores * (
        strength[:3] > 1e-9 * strength[:1].clamp(min=1e-300)
    )  # rounding of a constant map is no component
    low, high = (torch.quantile(scores, q, dim=0) for q in (0.02, 0.98))
    scores = ((scores - low) / (high - low).clamp(min=1e-300)).clamp(0, 1) * (high > low)
    colours = np.zeros((*x.shape[1:], 3), np.uint8)
    colours[..., : scores.shape[1]] = (255 * scores).round().to(torch.uint8).view(*x.shape[1:], -1).numpy()
    return colours


def _scaled(rows: list[Row], share: float) -> list[Row]:
    """Give each row one scale, from 0 to what this share of a panel's values does not exceed."""
    for row in rows:
        row.scale = (
            0.0,
            max((float(np.quantile(p.array, share)) for p in row.panels if p is not None), default=1.0)
            or 1.0,
        )
    return rows


def _valid(m: FeatureMap) -> Tensor:
    rows, columns = m.frame.kept(m.size)
    valid = torch.zeros_like(m.data[:, :1], dtype=torch.bool)
    valid[..., :rows, :columns] = True
    return valid


def _panel(values: Tensor, m: FeatureMap) -> Panel:
    """A map (1, 1, h, w) of one network's frame, without its padding."""
    size = tuple(values.shape[-2:])
    rows, columns = m.frame.kept(size)
    return Panel(values[0, 0, :rows, :columns].numpy(), m.frame.cover(size))


def _fused(boundaries: Sequence[Tensor | None], maps: Sequence[FeatureMap | None]) -> Panel | None:
    present = [(b, m) for b, m in zip(boundaries, maps) if b is not None]
    if not present:
        return None
    return _panel(
        fuse_boundaries([b for b, _ in present], valid=[_valid(m) for _, m in present]), present[0][1]
    )


def _relation(m: FeatureMap, pixel: tuple[int, int], tau: float) -> Panel:
    inside = m.inside()
    row, column = m.frame.place(pixel, m.size)
    rows, columns = inside.shape[-2:]
    relation = self_relation(inside.flatten(2).mT, tau, [row * columns + column])
    return Panel((relation * rows * columns).view(rows, columns).numpy(), m.frame.cover(m.size))


def _components(m: FeatureMap) -> Panel:
    return Panel(principal_colours(m.inside()[0]), m.frame.cover(m.size))
