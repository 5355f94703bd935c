"""Distance between the Gram matrices of two sets of vectors, by the smaller of the possible matrices."""

from typing import Any

import torch
from torch import Tensor


def gram_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""Squared Frobenius distance of two Gram matrices, :math:`\lVert X X^\top - Y Y^\top \rVert_F^2`.

    With :math:`A = X - Y` and :math:`B = X + Y` the difference is :math:`(A B^\top + B A^\top) / 2`, and

    .. math:: \lVert X X^\top - Y Y^\top \rVert_F^2 = \tfrac12 \left( \langle A^\top A, B^\top B \rangle
              + \langle A^\top B, (A^\top B)^\top \rangle \right)

    so that matrices of n x n are built where n <= C, and of C x C otherwise. Both forms go to 0 with the
    difference of x and y, where the squares of three products would cancel. Backward costs two products more.

    Shape:
        - x, y: (n, C), float32 or float64; output: scalar, 0 or more.

    Raises:
        ValueError: They are no matrices of one shape.

    Example:
        >>> x, y = torch.tensor([[1., 0.], [0., 2.]]), torch.tensor([[1., 0.], [0., 1.]])
        >>> gram_distance(x, y).item()  # diag(1, 4) and diag(1, 1)
        9.0
    """
    if x.dim() != 2 or x.shape != y.shape:
        got = f'{tuple(x.shape)}, {tuple(y.shape)}'
        raise ValueError(f'gram_distance: expected two n x C matrices of one shape. Got: {got}')
    return _GramDistance.apply(x, y)


class _GramDistance(torch.autograd.Function):
    """By hand, since autograd would keep A and B and take six products backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            a, b = x - y, x + y
            ctx.dense = len(x) <= x.shape[1]
            if ctx.dense:
                # D = (A B' + B A') / 2, (n, n); its squared norm is the distance.
                difference = a @ b.T
                difference = (difference + difference.T) / 2
                ctx.save_for_backward(x, y, difference)
                return difference.square().sum()
            # A'A, B'B and A'B, (C, C), in the formula above; rounding may leave less than 0.
            aa, bb, ab = a.T @ a, b.T @ b, a.T @ b
            ctx.save_for_backward(x, y, aa, bb, ab)
            return (((aa * bb).sum() + (ab * ab.T).sum()) / 2).clamp(min=0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y, *products = ctx.saved_tensors
        grads: list[Tensor | None] = [None, None]
        with torch.autocast(x.device.type, enabled=False):
            if ctx.dense:
                # d/dX = 4 D X and d/dY = -4 D Y.
                for i, (z, sign) in enumerate(((x, 4), (y, -4))):
                    if ctx.needs_input_grad[i]:
                        grads[i] = products[0] @ z * (sign * grad)
                return tuple(grads)
            aa, bb, ab = products
            a, b = x - y, x + y
            for i, sign in enumerate((1, -1)):
                if ctx.needs_input_grad[i]:
                    # D X = (A (B'X) + B (A'X)) / 2, with X = (B + A) / 2; likewise Y = (B - A) / 2.
                    grads[i] = (a @ (bb + sign * ab.T) + b @ (ab + sign * aa)) * (sign * grad)
        return tuple(grads)
