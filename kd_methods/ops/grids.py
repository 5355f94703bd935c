"""Maps of two networks on one grid, and which of its places count."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.ops.reductions import full_precision, without_autocast

#: Longest side of a map that is resized by products with dense weights.
DENSE = 128


def common_grid(first: Sequence[int], second: Sequence[int], most: int | None = None) -> tuple[int, int]:
    """The finest grid that is no finer than either map, given by height and width.

    Args:
        first (Sequence[int]): One map.
        second (Sequence[int]): The other.
        most (int, optional): Most places; the sides keep their ratio. Defaults to None: no bound.

    Example:
        >>> common_grid((64, 128), (32, 64)), common_grid((64, 128), (32, 64), 1024)
        ((32, 64), (22, 45))
    """
    height, width = (min(pair) for pair in zip(first, second))
    if most is None or height * width <= most:
        return height, width
    # Both sides by one factor, rounded down; a side of 1 leaves more to the other.
    share = math.sqrt(most / (height * width))
    rows = min(max(int(height * share + 1e-6), 1), most)  # 65 * (32 / 65) must not become 31
    return rows, min(max(int(width * share + 1e-6), 1), most // rows)


def pool_map(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring a map to a coarser grid by adaptive average pooling, in full precision; on its grid it stays.

    Shape:
        - x: (N, C, H, W); output: (N, C, *grid).
    """
    return x if tuple(x.shape[2:]) == tuple(grid) else F.adaptive_avg_pool2d(full_precision(x), grid)


def valid_area(img_shape: Sequence[Sequence[int]], batch_shape: Sequence[int], like: Tensor) -> Tensor:
    """Which places of a map see a pixel of their image, rather than padding alone.

    Args:
        img_shape (Sequence[Sequence[int]]): Height and width of each image before padding, in pixels.
        batch_shape (Sequence[int]): Height and width of the padded batch.
        like (Tensor): The map.

    Shape:
        - like: (N, C, H, W); output: (N, 1, H, W), bool.
    """
    # A place counts if it begins before its image ends: each end is compared as a number, since a tensor of
    # them would have to be copied to the device.
    masks = []
    for length, batch, sizes in zip(like.shape[2:], batch_shape, zip(*(size[:2] for size in img_shape))):
        places = torch.arange(length, device=like.device)
        masks.append(torch.stack([places < size * length / batch for size in sizes]))
    return masks[0][:, None, :, None] & masks[1][:, None, None]


def resize_map(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bring maps to a grid by bilinear interpolation; on their grid they stay as they are.

    As ``F.interpolate``, to rounding. Bilinear interpolation is linear along each side, so small maps are
    resized by two products with the weights of rows and columns. Forward and backward that takes a half to a
    tenth of the time on a CPU, and on a GPU its gradient comes out the same each time.

    Shape:
        - x: (N, C, H, W), floating point; output: (N, C, *size).
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    with without_autocast(x):
        full = full_precision(x)
        change = Interpolation(x.shape[2:], size, full, align_corners)
        return change.rows(change.columns(full)).to(x.dtype)


class Interpolation:
    """Bilinear interpolation from one grid to another, in two steps, with the transposes of both.

    Args:
        old (Sequence[int]): Height and width of the maps.
        new (Sequence[int]): Those that they get.
        like (Tensor): A tensor of the maps' device and type, float32 or float64.
        align_corners (bool): As of ``F.interpolate``. Defaults to False.

    Attributes:
        by_rows (bool): Whether :meth:`rows` can give a part of them.

    Shape:
        - columns: from (N, C, H, W) to (N, C, H, w); rows: from that to (N, C, r, w), r of all h rows. On one
          grid, and for maps beyond :data:`DENSE`, columns gives what it gets.
    """

    def __init__(
        self, old: Sequence[int], new: Sequence[int], like: Tensor, align_corners: bool = False
    ) -> None:
        self.old, self.new, self.align_corners = tuple(old), tuple(new), align_corners
        self.same, self.dense = self.old == self.new, max(old) <= DENSE
        self.by_rows = self.same or self.dense
        if self.dense and not self.same:
            rows, columns = (_linear_weights(n, m, like, align_corners) for n, m in zip(old, new))
            self._rows, self._columns = rows, columns

    def columns(self, x: Tensor) -> Tensor:
        """Interpolate within the rows."""
        return x if self.same or not self.dense else x @ self._columns.mT

    def rows(self, x: Tensor, part: slice = slice(None)) -> Tensor:
        """Interpolate within the columns, a part of the rows; a new tensor."""
        if self.same:
            return x[:, :, part].clone()
        if self.dense:
            band = self._band(part)
            return self._rows[part, band] @ x[:, :, band]
        return F.interpolate(x, size=self.new, mode='bilinear', align_corners=self.align_corners)

    def rows_back(self, grad: Tensor, part: slice, total: Tensor) -> None:
        """Add the gradient of :meth:`rows` to ``total``."""
        if self.same:
            total[:, :, part] += grad
        elif self.dense:
            band = self._band(part)
            total[:, :, band] += self._rows[part, band].mT @ grad
        else:
            shape = (*total.shape[:2], *self.old)
            total += torch.ops.aten.upsample_bilinear2d_backward(
                grad.contiguous(), self.new, shape, self.align_corners
            )

    def _band(self, part: slice) -> slice:
        """The old rows that a part of the new ones is made of."""
        old, new = self.old[0], self.new[0]
        first, stop, _ = part.indices(new)
        above, below = (_position(row, old, new, self.align_corners) for row in (first, stop - 1))
        return slice(max(math.floor(above - 1e-6), 0), min(math.floor(below + 1e-6) + 2, old))

    def columns_back(self, grad: Tensor) -> Tensor:
        """The gradient of :meth:`columns`."""
        return grad if self.same or not self.dense else grad @ self._columns


def _linear_weights(old: int, new: int, like: Tensor, align_corners: bool) -> Tensor:
    """Weights of linear interpolation along a side, (new, old): the hat function around each position."""
    at = torch.arange(new, device=like.device, dtype=torch.float64)
    at = _position(at, old, new, align_corners)
    old_at = torch.arange(old, device=like.device, dtype=torch.float64)
    distance = (at.clamp(0, old - 1).unsqueeze(1) - old_at).abs()
    return (1 - distance).clamp(min=0).to(like.dtype)


def _position(at: Any, old: int, new: int, align_corners: bool) -> Any:
    """Where a new place lies among the old ones."""
    if align_corners:
        return at * ((old - 1) / (new - 1) if new > 1 else 0.0)
    return (at + 0.5) * (old / new) - 0.5
