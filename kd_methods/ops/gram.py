"""Distance between the Gram matrices of two sets of vectors, by the smaller of the possible matrices."""

from typing import Any

import torch
from torch import Tensor

from kd_methods.ops.kept_gradient import KeptGradient
from kd_methods.ops.reductions import full_precision, without_autocast


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
        with without_autocast(x):
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
        with without_autocast(x):
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


def relation_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""Squared Frobenius distance of the relations between all places of two batches of maps.

    The vector of each place is scaled to length 1, then its own mean is taken off: these are the rows of X
    and Y, and the distance is :math:`\lVert X X^\top - Y Y^\top \rVert_F^2`, as in :func:`gram_distance`, by
    matrices of (N H W)^2 or C x C, whichever is smaller.

    Args:
        x (Tensor): The student's maps.
        y (Tensor): The teacher's; they get no gradient.

    Shape:
        - x, y: (N, C, H, W), of one shape; output: scalar, 0 or more.

    Example:
        >>> feature = torch.randn(2, 8, 4, 4)
        >>> relation_distance(4 * feature, feature).item()
        0.0
    """
    return _RelationDistance.apply(x, y.detach())


class _RelationDistance(KeptGradient):
    """By hand: the gradient is known with the value, and is all that is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        with without_autocast(x):
            whole = full_precision(x)
            maps = whole.flatten(2), full_precision(y).flatten(2).to(whole.dtype)  # (N, C, H W)
            by_places = len(x) * maps[0].shape[2] <= x.shape[1]
            value, gradient = (_by_places if by_places else _by_channels)(*maps, ctx.needs_input_grad[0])
            if gradient is not None:
                _RelationDistance.keep(ctx, gradient, x)
            return value


def _by_places(x: Tensor, y: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """Value, and gradient at x, by matrices of all places, (n, n): no step but the products sees the maps."""
    images, channels = x.shape[:2]
    x, y = (z.transpose(0, 1).flatten(1) for z in (x, y))  # (C, n)

    def relations(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # With r = 1 / |z_i| the unit vectors r z have the products r_i r_j <z_i, z_j>, from which those of
        # their means go, of which each is r times the mean of z.
        products, sums = z.T @ z, z.sum(0)
        inverse = _inverse(products.diagonal().sqrt())
        means = inverse * sums
        return (
            products.mul_(torch.outer(inverse, inverse)).addr_(means, means, alpha=-1 / channels),
            inverse,
            sums,
        )

    K, inverse, sums = relations(x)
    difference = K - relations(y)[0]
    value = difference.square().sum()
    if not wanted:
        return value, None
    # dV / dx_i = 4 sum_j D_ij r_i r_j (x_j - mean x_j) - 4 r_i^2 x_i sum_j D_ij K_ij.
    along = (difference * K).sum(1).mul_(4 * inverse.square())
    weight = difference.mul_(4 * torch.outer(inverse, inverse))
    means = (sums @ weight).div_(-channels)
    weight.diagonal().sub_(along)
    return value, torch.addmm(means, x, weight).unflatten(1, (images, -1)).transpose(0, 1)


def _by_channels(x: Tensor, y: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """The same by matrices of all channels, (C, C), as in :func:`gram_distance`."""

    def unit(z: Tensor) -> tuple[Tensor, Tensor]:
        inverse = _inverse((z * z).sum(1, keepdim=True).sqrt_())
        return z * inverse, inverse

    def centre(matrix: Tensor) -> Tensor:  # as if the vectors were without their means
        rows = matrix - matrix.mean(1, keepdim=True)
        return rows - rows.mean(0)

    (u, inverse), (v, _) = unit(x), unit(y)
    a, b = u - v, u + v
    # A'A, B'B and A'B, (C, C), summed over the images.
    aa, bb, ab = (centre(torch.bmm(p, q.mT).sum(0)) for p, q in ((a, a), (b, b), (a, b)))
    value = (((aa * bb).sum() + (ab * ab.T).sum()) / 2).clamp(min=0)
    if not wanted:
        return value, None
    left, right = (m.expand(len(x), -1, -1) for m in (bb + ab, ab.T + aa))  # A (B'B + B'A) + B (A'B + A'A)
    slope = torch.bmm(left, a).baddbmm_(right, b)
    return value, slope.addcmul_((slope * u).sum(1, keepdim=True), u, value=-1).mul_(inverse)


def _inverse(length: Tensor) -> Tensor:
    """1 / length, 0 where that is 0."""
    return length.reciprocal().masked_fill_(length == 0, 0)
