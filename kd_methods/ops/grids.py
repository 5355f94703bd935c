"""Maps of two networks on one grid, and which of its places count."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.ops.reductions import full_precision


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
    h, w = like.shape[2:]
    # Ends of the images in places of the map, (N, 2).
    ends = [[size[0] * h / batch_shape[0], size[1] * w / batch_shape[1]] for size in img_shape]
    ends = torch.tensor(ends, device=like.device)
    rows, columns = torch.arange(h, device=like.device), torch.arange(w, device=like.device)
    return (rows < ends[:, :1])[:, None, :, None] & (columns < ends[:, 1:])[:, None, None]


def resize_map(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bring maps to a grid by bilinear interpolation; on their grid they stay as they are."""
    same = tuple(x.shape[2:]) == tuple(size)
    options = dict(mode='bilinear', align_corners=align_corners)
    return x if same else F.interpolate(x, size=tuple(size), **options)
