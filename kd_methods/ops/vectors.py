"""Vectors of a map: what a map must be, and unit length with its gradient by hand."""

import torch
from torch import Tensor


def check_feature(feature: Tensor, label: Tensor, name: str = 'feature') -> None:
    """Raise unless ``feature`` is a floating-point map with the batch size of ``label``."""
    if not isinstance(feature, Tensor):
        raise TypeError(f'{name} must be a tensor N x C x H x W. Got: {type(feature).__name__}')
    if feature.dim() != 4 or not feature.is_floating_point():
        got = f'{feature.dtype}, {tuple(feature.shape)}'
        raise ValueError(f'{name} must be a floating-point map N x C x H x W. Got: {got}')
    if isinstance(label, Tensor) and label.shape[:1] != feature.shape[:1]:
        got = f'label {tuple(label.shape)}, {name} {tuple(feature.shape)}'
        raise ValueError(f'label and {name} must have the same batch size. Got: {got}')


def check_same_maps(where: str, channels: str = 'C', **maps: Tensor) -> None:
    """Raise unless maps are N x C x H x W, of one shape."""
    shapes = [tuple(x.shape) for x in maps.values()]
    if len(set(shapes)) > 1 or len(shapes[0]) != 4:
        names, got = ' and '.join(maps), ', '.join(map(str, shapes))
        raise ValueError(f'{where}: {names} must be N x {channels} x H x W, of one shape. Got: {got}')


def unit_vectors(x: Tensor, dim: int = -1) -> Tensor:
    """L2-normalise along a dimension, by default the last; a zero vector stays zero and gets gradient 0.

    Example:
        >>> unit_vectors(torch.tensor([[3., 4.], [0., 0.]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    zero = norm == 0
    return (x / norm.masked_fill(zero, 1)).masked_fill(zero, 0)


def unit_vectors_backward(grad: Tensor, unit: Tensor, x: Tensor, dim: int = -1) -> Tensor:
    """Gradient at x of a gradient at its unit vectors, in place in ``grad``; exactly 0 at zero vectors.

    For functions with a backward pass by hand, which need not keep what autograd would.
    """
    # (g - <g, u> u) / |x|, with u the unit vector.
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    zero = norm == 0
    along = torch.linalg.vecdot(grad, unit, dim=dim).unsqueeze(dim)
    return grad.sub_(along * unit).div_(norm.masked_fill(zero, 1)).masked_fill_(zero, 0)
