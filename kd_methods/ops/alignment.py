"""Alignment of two sets of features by the relations within each: kernel regression, HSIC and CKA."""

from typing import Any, Literal

import torch
from torch import Tensor

from kd_methods.ops.reductions import without_autocast
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


def kernel_regression(x: Tensor, bandwidth: float = 1.0, standard: bool = False) -> Tensor:
    """Each token as the mean of all, weighted by :func:`laplace_kernel` (Nadaraya-Watson).

    Args:
        x (Tensor): Tokens.
        bandwidth (float): Factor of the median. Defaults to 1.0.
        standard (bool): The tokens are those of :func:`standardise`, which is quicker. Defaults to False.

    Shape:
        - x, output: (N, n, C).
    """
    return _KernelRegression.apply(x, bandwidth, standard)


def _scaled_distances(x: Tensor, standard: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Distances of all pairs (N, n, n), 0 below the bound of :func:`laplace_kernel`, and the centred tokens.

    Both are in a unit by which this bound is 1, which changes no kernel. The third is 1 / unit, (N, 1, 1), 0
    where all tokens are the same. ``standard`` tokens, and their distances, are as they are.
    """
    # |x_i - x_j|^2 = |x_i|^2 + |x_j|^2 - 2 <x_i, x_j>, of centred tokens, since these lose least to rounding.
    # Their mean over all pairs is then 2 mean |x_i|^2, of standard tokens 2 C.
    bound, scale = 2e-6 * x.shape[2], None
    if not standard:
        x = x - x.mean(1, keepdim=True)
        unit = (2e-6 * (x * x).sum(2).mean(1)).sqrt().view(-1, 1, 1)
        bound, scale = 1.0, (1 / unit).masked_fill(unit == 0, 0)
        x = x * scale
    norms = (x * x).sum(2)
    squares = torch.baddbmm(norms.unsqueeze(1), x, x.mT, alpha=-2).add_(norms.unsqueeze(2))
    torch.nn.functional.threshold_(squares, bound, 0.0)
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
        with without_autocast(x):
            return _distance_gradient(grad * kernel * -inverse, distances, x) * scale, None


class _KernelRegression(torch.autograd.Function):
    """By hand, for the same reason: the weights and the distances are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bandwidth: float, standard: bool) -> Tensor:
        distances, scaled, scale = _scaled_distances(x, standard)
        wanted = ctx.needs_input_grad[0]
        weights, inverse = _to_kernel(distances.clone() if wanted else distances, bandwidth)
        weights /= weights.sum(2, keepdim=True)  # rows with the sum 1
        regressed = weights @ x
        if wanted:
            ctx.save_for_backward(x, weights, distances, scaled, inverse, scale, regressed)
        return regressed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, weights, distances, scaled, inverse, scale, regressed = ctx.saved_tensors
        # Y = W X with W the softmax of -d / sigma over each row: dW = G X', and through the softmax
        # W (dW - sum_j W dW), where that sum is <G_i, Y_i>.
        with without_autocast(x):
            slope = torch.baddbmm((grad * regressed).sum(2, keepdim=True), grad, x.mT, beta=-1)
            slope = slope.mul_(weights).mul_(-inverse)
            through = _distance_gradient(slope, distances, scaled)
            return torch.baddbmm(through if scale is None else through * scale, weights.mT, grad), None, None


def standardise(x: Tensor) -> Tensor:
    """Tokens without their mean, at a root mean square of 1, a scale that is a constant to the gradient.

    What :func:`cka` measures stays, its precision grows: next to a large mean float32 loses the rest. Tokens
    that spread by less than a thousandth of the root mean square become 0: gradients grow with the inverse.

    Shape:
        - x, output: (N, n, C).
    """
    return _Standardise.apply(x)


class _Standardise(torch.autograd.Function):
    """By hand: one number an image is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        # Frobenius norms (N, 1, 1), of what is left when the mean is taken off, and of what was.
        spread, taken = (torch.linalg.vector_norm(z, dim=(1, 2), keepdim=True) for z in (centred, mean))
        size = torch.hypot(spread, taken * x.shape[1] ** 0.5)
        scale = x[0].numel() ** 0.5 / spread.masked_fill(spread <= 1e-3 * size, torch.inf)
        ctx.save_for_backward(scale)
        return centred.mul_(scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (scale,) = ctx.saved_tensors
        return (grad - grad.mean(1, keepdim=True)).mul_(scale)


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
    if kernel == 'linear':
        return _LinearAlignment.apply(x, y, estimator)
    K, L = (_centre(laplace_kernel(z, bandwidth), estimator) for z in (x, y))
    cross, own_x, own_y = (_inner(a, b, estimator) for a, b in ((K, L), (K, K), (L, L)))
    defined = _vary(own_x, 1.0) & _vary(own_y, 1.0)
    own_x, own_y = own_x.masked_fill(~defined, 1), own_y.masked_fill(~defined, 1)
    return (cross / (own_x.sqrt() * own_y.sqrt())).masked_fill(~defined, 0), defined


def _vary(own: Tensor, size: Tensor | float) -> Tensor:
    """Whether HSIC(K, K) is that of features that vary, where k_ii is about ``size``.

    It is then at least the share that one of n tokens has; below is rounding.
    """
    return own > torch.finfo(own.dtype).eps * size**2


class _LinearAlignment(torch.autograd.Function):
    r"""By hand: the gradient is known with the value, and is all that is kept.

    Of tokens with mean 0, :math:`K = X X^\top` has row sums 0, and without its diagonal a those of -a. So
    with L, b of Y likewise, :math:`n (n - 3)` times the debiased HSIC is

    .. math:: h(X, Y) = \mathrm{tr}(K L) - \tfrac{n}{n - 2}\, a^\top b
              + \tfrac{1}{(n - 1)(n - 2)}\, 1^\top a\; 1^\top b

    where :math:`\mathrm{tr}(K L) = \lVert X^\top Y \rVert_F^2` takes :math:`C_x C_y n` products.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, estimator: str) -> tuple[Tensor, Tensor]:
        n, biased = x.shape[1], estimator == 'biased'
        x, y = (z - z.mean(1, keepdim=True) for z in (x, y))
        a, b = ((z * z).sum(2, keepdim=True) for z in (x, y))  # (N, n, 1)
        size_x, size_y = (z.sum((1, 2)) for z in (a, b))  # (N,), as all below without a dimension of tokens
        by_features = max(x.shape[2], y.shape[2]) < n
        if by_features:
            products = (x.mT @ y, x.mT @ x, y.mT @ y)
            traces = [z.square().sum((1, 2)) for z in products]
            diagonal = 0.0 if biased else n / (n - 2)
        else:
            K, L = x @ x.mT, y @ y.mT  # (N, n, n), without the diagonals, the larger part of wide features
            if not biased:
                K.diagonal(dim1=1, dim2=2).zero_(), L.diagonal(dim1=1, dim2=2).zero_()
            traces = [(p * q).sum((1, 2)) for p, q in ((K, L), (K, K), (L, L))]
            diagonal = 0.0 if biased else 2 / (n - 2)
        total = 0.0 if biased else 1 / ((n - 1) * (n - 2))
        pairs = ((a, size_x, b, size_y), (a, size_x, a, size_x), (b, size_y, b, size_y))
        cross, own_x, own_y = (
            trace - diagonal * (p * q).sum((1, 2)) + total * size_p * size_q
            for trace, (p, size_p, q, size_q) in zip(traces, pairs)
        )
        unit = (n - 1) ** 2 if biased else n * (n - 3)
        defined = _vary(own_x / unit, size_x / n) & _vary(own_y / unit, size_y / n)
        # h(X, Y) / sqrt(h(X, X) h(Y, Y)); dh(X, Y) / dX = 2 (L - diagonal b + total 1'b) X.
        inverse = (own_x.clamp(min=0).rsqrt() * own_y.clamp(min=0).rsqrt()).masked_fill(~defined, 0)
        alignment = cross * inverse
        grads: list[Tensor | None] = [None, None]
        sides = ((x, a, size_x, own_x), (y, b, size_y, own_y))
        for i, needed in enumerate(ctx.needs_input_grad[:2]):
            if not needed:
                continue
            (u, p, size_u, own), (v, q, size_v, _) = sides[i], sides[1 - i]
            down = (2 * alignment / own).masked_fill(~defined, 0)
            alpha, beta = (2 * inverse).view(-1, 1, 1), down.view(-1, 1, 1)
            shift = total * (alpha * size_v.view(-1, 1, 1) - beta * size_u.view(-1, 1, 1))
            rows = (alpha * q - beta * p).mul_(-diagonal).add_(shift)  # (N, n, 1)
            if by_features:
                mixed, own_product = products[0].mT if i == 0 else products[0], products[1 + i]
                grad = torch.baddbmm(rows * u, v, mixed * alpha).baddbmm_(u, own_product * beta, alpha=-1)
            else:
                grad = torch.baddbmm(rows * u, (L, K)[i] * alpha - (K, L)[i] * beta, u)
            grads[i] = grad.sub_(grad.mean(1, keepdim=True))
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(defined)
        return alignment, defined

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return *[z if z is None else z * grad.view(-1, 1, 1) for z in ctx.saved_tensors], None
