"""Alignment of two sets of features by the relations within each: kernel regression, HSIC and CKA."""

from typing import Any, Literal

import torch
from torch import Tensor

from kd_methods.ops.selection import kth_value
from kd_methods.utils.options import Positive, checked

Estimator = Literal['debiased', 'biased']
Kernel = Literal['linear', 'laplace']


def laplace_kernel(x: Tensor, bandwidth: float = 1.0) -> Tensor:
    r"""Laplace kernel of all pairs of tokens, :math:`k_{ij} = e^{-\lVert x_i - x_j \rVert_2 / \sigma}`.

    :math:`\sigma` is ``bandwidth`` times the (lower) median distance of two different tokens, without
    gradient. Distances below a thousandth of the root mean square one count as 0: float32 could not tell such
    tokens apart, and the gradient would be noise.

    Args:
        x (Tensor): Tokens.
        bandwidth (float): Factor of the median. Defaults to 1.0.

    Shape:
        - x: (N, n, C); output: (N, n, n), 1 on the diagonal, and everywhere where all tokens are the same.
    """
    return _LaplaceKernel.apply(x, bandwidth)


def kernel_regression(x: Tensor, bandwidth: float = 1.0) -> Tensor:
    """Each token as the mean of all, weighted by :func:`laplace_kernel` (Nadaraya-Watson).

    Shape:
        - x, output: (N, n, C).
    """
    return _KernelRegression.apply(x, bandwidth)


def _scaled_distances(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances of all pairs (N, n, n), 0 below the bound of :func:`laplace_kernel`, and the centred tokens.

    Both are in a unit by which this bound is 1, which changes no kernel. The third is 1 / unit, (N, 1, 1), 0
    where all tokens are the same.
    """
    # |x_i - x_j|^2 = |x_i|^2 + |x_j|^2 - 2 <x_i, x_j>, of centred tokens, since these lose least to rounding.
    # Their mean over all pairs is then 2 mean |x_i|^2.
    x = x - x.mean(1, keepdim=True)
    bound = (2e-6 * (x * x).sum(2).mean(1)).sqrt().view(-1, 1, 1)
    scale = (1 / bound).masked_fill(bound == 0, 0)
    x = x * scale
    norms = (x * x).sum(2)
    squares = torch.baddbmm(norms.unsqueeze(1), x, x.mT, alpha=-2).add_(norms.unsqueeze(2))
    torch.nn.functional.threshold_(squares, 1.0, 0.0)
    squares.diagonal(dim1=1, dim2=2).zero_()
    return squares.sqrt_(), x, scale


def _to_kernel(distances: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """The kernel, in place of the distances or of a copy, and 1 / sigma, (N, 1, 1)."""
    n = distances.shape[1]
    # The n zeros of the diagonal are the smallest; behind them, the median of the n (n - 1) others.
    middle = n + (n * (n - 1) + 1) // 2 if n > 1 else 1
    median = kth_value(distances.flatten(1), middle).view(-1, 1, 1)
    inverse = 1 / (bandwidth * median).clamp(min=torch.finfo(distances.dtype).tiny)
    return distances.mul_(-inverse).exp_(), inverse


def _distance_gradient(slope: Tensor, distances: Tensor, x: Tensor) -> Tensor:
    """Gradient at the tokens of a gradient at their distances, overwritten on the way; 0 at distance 0."""
    # dd_ij / dx_i = (x_i - x_j) / d_ij, and both ends of a pair have their share.
    slope = slope.div_(distances).masked_fill_(distances == 0, 0)
    slope = slope + slope.mT
    return slope.sum(2, keepdim=True) * x - slope @ x


class _LaplaceKernel(torch.autograd.Function):
    """By hand: autograd would keep a matrix for each of a dozen steps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bandwidth: float) -> Tensor:
        distances, scaled, scale = _scaled_distances(x)
        kernel, inverse = _to_kernel(distances.clone(), bandwidth)
        ctx.save_for_backward(kernel, distances, scaled, inverse, scale)
        return kernel

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        kernel, distances, x, inverse, scale = ctx.saved_tensors
        return _distance_gradient(grad * kernel * -inverse, distances, x) * scale, None


class _KernelRegression(torch.autograd.Function):
    """By hand, for the same reason: the weights and the distances are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bandwidth: float) -> Tensor:
        distances, scaled, scale = _scaled_distances(x)
        wanted = ctx.needs_input_grad[0]
        weights, inverse = _to_kernel(distances.clone() if wanted else distances, bandwidth)
        weights /= weights.sum(2, keepdim=True)  # rows with the sum 1
        regressed = weights @ x
        if wanted:
            ctx.save_for_backward(x, weights, distances, scaled, inverse, scale, regressed)
        return regressed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, weights, distances, scaled, inverse, scale, regressed = ctx.saved_tensors
        # Y = W X with W the softmax of -d / sigma over each row: dW = G X', and through the softmax
        # W (dW - sum_j W dW), where that sum is <G_i, Y_i>.
        slope = torch.baddbmm((grad * regressed).sum(2, keepdim=True), grad, x.mT, beta=-1)
        slope = slope.mul_(weights).mul_(-inverse)
        return weights.mT @ grad + _distance_gradient(slope, distances, scaled) * scale, None


def standardise(x: Tensor) -> Tensor:
    """Tokens without their mean, at a root mean square of 1, a scale that is a constant to the gradient.

    What :func:`cka` measures stays, its precision grows: next to a large mean float32 loses the rest. Tokens
    that spread by less than a thousandth of the root mean square become 0: gradients grow with the inverse.

    Shape:
        - x, output: (N, n, C).
    """
    centred = x - x.mean(1, keepdim=True)
    # Root mean squares (N, 1, 1), before and after the mean is taken off.
    size, scale = (z.detach().square().mean((1, 2), keepdim=True).sqrt() for z in (x, centred))
    constant = scale <= 1e-3 * size
    return centred * (1 / scale.masked_fill(constant, 1)).masked_fill(constant, 0)


@checked
def linear_hsic(x: Tensor, y: Tensor, estimator: Estimator = 'debiased') -> Tensor:
    """:func:`hsic` of linear kernels, from the features: C_x C_y n instead of n n (C_x + C_y) products.

    Shape:
        - x: (N, n, C_x), y: (N, n, C_y); output: (N,).
    """
    n = x.shape[1]
    if estimator == 'biased':  # tr(K H L H) = |X' Y|^2 of centred features, (N, C_x, C_y)
        product = (x - x.mean(1, keepdim=True)).mT @ (y - y.mean(1, keepdim=True))
        return product.square().sum((1, 2)) / (n - 1) ** 2
    # K = X X' and L = Y Y' without their diagonals a and b, (N, n): row sums K 1 = r and L 1 = s, (N, n).
    a, b = (x * x).sum(2), y.square().sum(2)
    r, s = ((z @ z.sum(1).unsqueeze(2) - d.unsqueeze(2)).squeeze(2) for z, d in ((x, a), (y, b)))
    # tr(K L) = |X' Y|^2 - <a, b>, then the two corrections of Song et al.
    trace = (x.mT @ y).square().sum((1, 2)) - (a * b).sum(1)
    total = trace + r.sum(1) * s.sum(1) / ((n - 1) * (n - 2)) - 2 * (r * s).sum(1) / (n - 2)
    return total / (n * (n - 3))


@checked
def hsic(K: Tensor, L: Tensor, estimator: Estimator = 'debiased') -> Tensor:
    r"""Hilbert-Schmidt independence criterion of two kernel matrices.

    ``'debiased'`` (Song et al. JMLR 2012), with :math:`\tilde K, \tilde L` without their diagonals:

    .. math:: \frac{1}{n (n - 3)} \left[ \mathrm{tr}(\tilde K \tilde L)
              + \frac{1^\top \tilde K 1\; 1^\top \tilde L 1}{(n - 1)(n - 2)}
              - \frac{2}{n - 2} 1^\top \tilde K \tilde L 1 \right]

    ``'biased'``: :math:`\mathrm{tr}(K H L H) / (n - 1)^2` with the centring matrix H.

    Shape:
        - K, L: (N, n, n), symmetric; output: (N,).
    """
    return _inner(_centre(K, estimator), _centre(L, estimator), estimator)


def _centre(K: Tensor, estimator: str) -> Tensor:
    """The matrix whose inner products are the estimate; no difference of large numbers is left in it."""
    n = K.shape[1]
    if estimator == 'biased':  # H K H
        rows = K.mean(2, keepdim=True)
        return K - rows - rows.mT + rows.mean(1, keepdim=True)
    # U-centring: as above without the diagonal, and with n - 2 and n - 1 for n.
    diagonal = torch.eye(n, dtype=torch.bool, device=K.device)
    K = K.masked_fill(diagonal, 0)
    rows = K.sum(2, keepdim=True) / (n - 2)
    return (K - rows - rows.mT + rows.sum(1, keepdim=True) / (n - 1)).masked_fill(diagonal, 0)


def _inner(K: Tensor, L: Tensor, estimator: str) -> Tensor:
    n = K.shape[1]
    return (K * L).sum((1, 2)) / ((n - 1) ** 2 if estimator == 'biased' else n * (n - 3))


@checked
def cka(
    x: Tensor,
    y: Tensor,
    kernel: Kernel = 'linear',
    estimator: Estimator = 'debiased',
    bandwidth: Positive = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""Centred kernel alignment, :math:`HSIC(K, L) / \sqrt{HSIC(K, K)\, HSIC(L, L)}`.

    Kornblith et al. ICML 2019. Invariant to orthogonal maps, isotropic scale and shift of either set, and to
    a permutation of the tokens of both.

    Args:
        x (Tensor): Tokens, best of :func:`standardise`.
        y (Tensor): As many others.
        kernel (str): ``'linear'`` or ``'laplace'``. Defaults to 'linear'.
        estimator (str): ``'debiased'`` or ``'biased'``, by which unrelated features seem alike where channels
            outnumber tokens. Defaults to 'debiased'.
        bandwidth (float): Of the Laplace kernel. Defaults to 1.0.

    Shape:
        - x: (N, n, C_x), y: (N, n, C_y), n >= 4.
        - output: the alignment, (N,), 0 for features that do not vary, and whether it is defined, bool.

    Example:
        >>> x = torch.randn(1, 16, 8)
        >>> alignment, defined = cka(x, 3 * x + 1)
        >>> round(alignment.item(), 4), defined.item()
        (1.0, True)
    """
    if x.dim() != 3 or y.dim() != 3 or x.shape[:2] != y.shape[:2] or x.shape[1] < 4:
        got = f'{tuple(x.shape)}, {tuple(y.shape)}'
        raise ValueError(f"cka: expected N x n x C and N x n x C', n of 4 or more. Got: {got}")
    n, linear = x.shape[1], kernel == 'linear'
    # HSIC of (x, y), (x, x) and (y, y), each (N,): from features where these are the smaller matrices.
    if linear and max(x.shape[2], y.shape[2]) < n:
        pairs = (x, y), (x, x), (y, y)
        cross, own_x, own_y = (linear_hsic.unchecked(a, b, estimator) for a, b in pairs)
    else:
        K, L = (_centre(z @ z.mT if linear else laplace_kernel(z, bandwidth), estimator) for z in (x, y))
        cross, own_x, own_y = (_inner(a, b, estimator) for a, b in ((K, L), (K, K), (L, L)))
    # Of features that vary this is at least the share that one of n tokens has; below is rounding.
    eps = torch.finfo(x.dtype).eps
    floors = [eps * z.detach().square().sum(2).mean(1).square() if linear else eps for z in (x, y)]
    defined = (own_x > floors[0]) & (own_y > floors[1])
    own_x, own_y = own_x.masked_fill(~defined, 1), own_y.masked_fill(~defined, 1)
    return (cross / (own_x.sqrt() * own_y.sqrt())).masked_fill(~defined, 0), defined
