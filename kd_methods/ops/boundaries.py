"""Boundaries in a feature map: where neighbouring vectors point elsewhere."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from kd_methods.ops.grids import resize_map
from kd_methods.ops.reductions import full_precision, without_autocast
from kd_methods.ops.vectors import check_feature
from kd_methods.utils.options import checked

Boundary = Literal['affinity', 'mean']
#: Half of the eight neighbours (rows down, columns right); the others are the same pairs from the other end.
OFFSETS = ((0, 1), (1, -1), (1, 0), (1, 1))
#: Most places whose products are computed all at once: then that is the quicker way.
DENSE = 256


def neighbour_distances(feature: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Distance of each place of a map to each of its eight neighbours.

    .. math:: d_{ij} = \lVert n_i - n_j \rVert^2 / 4, \qquad n_i = F_i / \lVert F_i \rVert

    It is 1 minus the affinity: 0 for one direction, 1/2 for orthogonal vectors, 1 for opposite ones, and 1/4
    between a zero vector and another.

    Args:
        feature (Tensor): The map F.
        valid (Tensor, optional): Which places count, bool; what the others hold has no influence, and
            gradient 0, even nan. Defaults to None: all.

    Shape:
        - feature: (N, C, H, W); valid: (N, 1, H, W).
        - output: distances (N, 8, H, W), 0 where a neighbour does not count, and whether it does, bool.

    Example:
        >>> feature = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(1, 2, 1, 3)
        >>> distances, counts = neighbour_distances(feature)
        >>> distances.amax(1).tolist(), counts.sum(1).tolist()
        ([[[0.0, 0.5, 0.5]]], [[[1, 2, 1]]])
    """
    check_feature(feature, feature)
    n, _, h, w = feature.shape
    if valid is None:
        counts = torch.zeros(1, 2 * len(OFFSETS), h, w, dtype=torch.bool, device=feature.device)
    else:
        feature = feature.masked_fill(~valid, 0)
        counts = valid.new_zeros(n, 2 * len(OFFSETS), h, w)
    # Neighbour k of the one end is neighbour 7 - k of the other; both ends must count.
    for k, (here, there) in enumerate(_pairs(h, w)):
        both = True if valid is None else (valid[here] & valid[there]).squeeze(1)
        counts[:, k][here] = counts[:, -1 - k][there] = both
    counts = counts.expand(n, -1, -1, -1)
    return _NeighbourDistances.apply(feature).masked_fill(~counts, 0), counts


class _NeighbourDistances(torch.autograd.Function):
    r"""By hand, for time and memory: no step but products of places, and their sum, sees the map.

    With :math:`r_i = 1 / \lVert F_i \rVert` the cosine is :math:`c_{ij} = r_i r_j \langle F_i, F_j \rangle`,
    and :math:`d_{ij} = (1 - c_{ij}) / 2`. The places of a map are one row after the other, where a neighbour
    is a fixed number of places on. At the ends of rows that is no neighbour: what is computed there does not
    count. A distance that rounding could have made is 0, without gradient.
    """

    @staticmethod
    def forward(ctx: Any, feature: Tensor) -> Tensor:
        with without_autocast(feature):
            f = full_precision(feature).flatten(2)  # (N, C, L = H W)
            products = _products(f)
            length = products(0).sqrt_()
            zero = length == 0
            inverse = length.reciprocal_().masked_fill_(zero, 0)  # r, (N, L)
            quarter = (~zero).to(f.dtype) / 4  # of the squared length of r F
            distances = f.new_zeros(len(f), 2 * len(OFFSETS), f.shape[2])  # (N, 8, L)
            for k, shift in _shifts(feature):
                rest = f.shape[2] - shift
                cosine = products(shift).mul_(inverse[:, :rest]).mul_(inverse[:, shift:])
                d = (quarter[:, :rest] + quarter[:, shift:]).sub_(cosine, alpha=0.5)
                distances[:, k, :rest] = distances[:, -1 - k, shift:] = d
            torch.nn.functional.threshold_(distances, 8 * torch.finfo(f.dtype).eps, 0.0).clamp_(max=1)
            ctx.save_for_backward(feature, inverse, quarter, distances)
            return distances.unflatten(2, feature.shape[2:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        feature, inverse, quarter, distances = ctx.saved_tensors
        with without_autocast(feature):
            f = full_precision(feature).flatten(2)
            grad = grad.flatten(2).masked_fill(distances == 0, 0)
            own, pairs = torch.zeros_like(inverse), []
            # The derivative of d_ij by F_i is -(r_i r_j F_j - c_ij r_i^2 F_i) / 2. A pair is in `grad` twice.
            for k, shift in _shifts(feature):
                rest = f.shape[2] - shift
                (r_i, r_j), (q_i, q_j) = ((x[:, :rest], x[:, shift:]) for x in (inverse, quarter))
                twice = grad[:, k, :rest] + grad[:, -1 - k, shift:]
                pairs.append((shift, (twice * r_i).mul_(r_j).mul_(-0.5)))
                half_cosine = twice.mul_(q_i + q_j - distances[:, k, :rest])
                own[:, :rest] += half_cosine
                own[:, shift:] += half_cosine
            own = own.mul_(inverse).mul_(inverse)
            return _weigh(f, own, pairs).view_as(feature).to(feature.dtype)


def _products(f: Tensor) -> Callable[[int], Tensor]:
    """Gives, for a distance k, the products (N, L - k) of all places of a map (N, C, L) with those k on."""
    if _is_dense(f):
        matrix = f.mT @ f
        return lambda k: matrix.diagonal(k, 1, 2).clone()
    places = f.shape[2]
    return lambda k: (f.narrow(2, 0, places - k) * f.narrow(2, k, places - k)).sum(1)


def _is_dense(f: Tensor) -> bool:
    """Whether the products of all places are one matrix; it is not larger than the map."""
    return f.shape[2] <= min(f.shape[1], DENSE)


def _weigh(f: Tensor, own: Tensor, pairs: list[tuple[int, Tensor]]) -> Tensor:
    """Each place of a map (N, C, L) times its own weight, plus its neighbours times those of the pairs."""
    if _is_dense(f):
        matrix = torch.diag_embed(own)
        for k, weight in pairs:
            matrix.diagonal(k, 1, 2).add_(weight)
            matrix.diagonal(-k, 1, 2).add_(weight)
        return f @ matrix
    total = f * own.unsqueeze(1)
    for k, weight in pairs:
        rest, weight = f.shape[2] - k, weight.unsqueeze(1)
        total.narrow(2, 0, rest).addcmul_(f.narrow(2, k, rest), weight)
        total.narrow(2, k, rest).addcmul_(f.narrow(2, 0, rest), weight)
    return total


def _shifts(feature: Tensor) -> list[tuple[int, int]]:
    """Each offset that a map is large enough for: its number, and how many places on it is."""
    h, w = feature.shape[2:]
    return [(k, down * w + right) for k, (down, right) in enumerate(OFFSETS) if down < h and abs(right) < w]


def _pairs(h: int, w: int) -> list[tuple[tuple, tuple]]:
    """For each offset, indices of the places that have such a neighbour, and of those neighbours."""
    found = []
    for down, right in OFFSETS:
        # Slices of a map that is smaller than the offset are empty, not negative.
        left, width = max(-right, 0), max(w - abs(right), 0)
        here = (..., slice(0, max(h - down, 0)), slice(left, left + width))
        there = (..., slice(down, max(h, down)), slice(left + right, left + right + width))
        found.append((here, there))
    return found


@checked
def boundary_map(feature: Tensor, boundary: Boundary = 'affinity', valid: Tensor | None = None) -> Tensor:
    r"""How strongly a boundary runs at each place of a map: its distance to the neighbours.

    .. math:: b_i = \max_{j \in \Omega(i)} d_{ij}

    with :math:`d` of :func:`neighbour_distances` and :math:`\Omega` the eight neighbours. It stays the same
    if the channels are permuted or turned, or if a vector is scaled. BCD's loss takes its two parts, since
    it needs the distances as well: :func:`neighbour_distances` and :func:`reduce_distances`.

    Args:
        feature (Tensor): The map.
        boundary (str): ``'affinity'``: the largest distance, 1 minus the smallest affinity; ``'mean'``: the
            mean distance. Defaults to 'affinity'.
        valid (Tensor, optional): Which places count, bool. Defaults to None: all.

    Shape:
        - feature: (N, C, H, W); valid, output: (N, 1, H, W), 0 to 1, to 0.5 if no feature is negative.

    Example:
        >>> feature = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(1, 2, 1, 3)
        >>> boundary_map(feature).flatten().tolist()
        [0.0, 0.5, 0.5]
    """
    return reduce_distances.unchecked(*neighbour_distances(feature, valid), boundary)


@checked
def reduce_distances(distances: Tensor, counts: Tensor, boundary: Boundary = 'affinity') -> Tensor:
    """A boundary map (N, 1, H, W), of what :func:`neighbour_distances` gives."""
    if boundary == 'affinity':
        return distances.amax(1, keepdim=True)
    return distances.sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)


def fuse_boundaries(
    maps: Sequence[Tensor], size: tuple[int, int] | None = None, valid: Sequence[Tensor] | None = None
) -> Tensor:
    """Mean of boundary maps of several levels, each brought to one grid, bilinearly.

    Args:
        maps (Sequence[Tensor]): The maps.
        size (tuple[int, int], optional): Height and width of the grid. Defaults to None: the finest map's.
        valid (Sequence[Tensor], optional): Which places of each map count, bool. The others are left out of
            interpolation and mean, as if the map ended there. Defaults to None: all.

    Shape:
        - maps, valid: (N, 1, h, w) each; output: (N, 1, H, W), 0 where no level has a place that counts.
    """
    size = size or max((tuple(b.shape[2:]) for b in maps), key=lambda s: s[0] * s[1])
    if valid is None:
        return sum(resize_map(b, size) for b in maps) / len(maps)
    total, count = 0, 0  # of the levels that reach a place, (N, 1, H, W)
    for b, counts in zip(maps, valid):
        # Interpolated values of places that count, by the share that these have in the interpolation.
        share = resize_map(counts.to(b.dtype), size)
        total = total + resize_map(b.masked_fill(~counts, 0), size) / share.masked_fill(share == 0, 1)
        count = count + (share > 0)
    return total / count.clamp(min=1)
