"""Vectors of a map: what a map must be, and unit length with its gradient by hand."""

from typing import Any

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
    return _UnitVectors.apply(x, dim)


def _length(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Lengths, 1 for a zero vector, and which these are."""
    if x.dtype in (torch.float16, torch.bfloat16):  # whose squares may be infinite
        norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    else:  # faster where that is not the last dimension
        norm = (x * x).sum(dim, keepdim=True).sqrt_()
    zero = norm == 0
    return norm.masked_fill_(zero, 1), zero


class _UnitVectors(torch.autograd.Function):
    """By hand: autograd would go back through the length, and keep both."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        unit = x / _length(x, dim)[0]
        ctx.save_for_backward(x, unit)
        return unit

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, unit = ctx.saved_tensors
        return unit_vectors_backward(grad.clone(), unit, x, ctx.dim), None


def unit_vectors_backward(grad: Tensor, unit: Tensor, x: Tensor, dim: int = -1) -> Tensor:
    """Gradient at x of a gradient at its unit vectors, in place in ``grad``; exactly 0 at zero vectors.

    For functions with a backward pass by hand, which need not keep what autograd would.
    """
    # (g - <g, u> u) / |x|, with u the unit vector.
    norm, zero = _length(x, dim)
    along = (grad * unit).sum(dim, keepdim=True)
    return grad.addcmul_(along, unit, value=-1).div_(norm).masked_fill_(zero, 0)
