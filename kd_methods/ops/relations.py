"""Self-relation of vectors, and the divergence of two of them in memory that is linear in their number."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kd_methods.ops.kept_gradient import KeptGradient
from kd_methods.ops.reductions import full_precision, without_autocast
from kd_methods.ops.vectors import unit_vectors, unit_vectors_backward
from kd_methods.utils.options import Count, Positive, checked

#: Elements of a block of rows: 4 MiB a matrix. On a CPU larger blocks are no faster.
BLOCK = 2**20


@checked
def self_relation(x: Tensor, tau: Positive = 0.1, rows: Tensor | Sequence[int] | None = None) -> Tensor:
    r"""How closely each vector is related to each other one.

    .. math:: R_{ij} = \mathrm{softmax}_j \left( \langle \varphi_i, \varphi_j \rangle / \tau \right), \qquad
              \varphi_i = x_i / \lVert x_i \rVert

    Args:
        x (Tensor): Vectors, such as the places of a map: ``feature.flatten(2).mT``. A zero vector stays one.
        tau (float): Temperature. Defaults to 0.1.
        rows (Tensor | Sequence[int], optional): Which i are wanted. Defaults to None: all, n x n values.

    Shape:
        - x: (N, n, C); output: (N, n, n), or (N, len(rows), n).

    Example:
        >>> self_relation(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), tau=1.0)[0, 0]  # softmax of (1, 0)
        tensor([0.7311, 0.2689])
    """
    phi = unit_vectors(full_precision(x))  # (N, n, C)
    asked = phi if rows is None else phi[:, torch.as_tensor(rows, device=x.device)]
    return (asked @ phi.mT / tau).softmax(-1)


@checked
def relation_kl(
    x_S: Tensor, x_T: Tensor, tau: Positive = 0.1, valid: Tensor | None = None, block: Count | None = None
) -> Tensor:
    r"""Divergence between two self-relations of as many vectors, whose widths may differ.

    .. math:: \frac1n \sum_i KL(R_{T,i} \| R_{S,i})

    averaged over images. R is never held: rows are worked off in blocks, and each gives its part of the value
    and of the gradient. That takes memory for n C + block n numbers more.

    Args:
        x_S (Tensor): The student's vectors.
        x_T (Tensor): The teacher's; they get no gradient.
        tau (float): Temperature. Defaults to 0.1.
        valid (Tensor, optional): Which vectors count, bool. The others are left out of rows and columns and
            get gradient 0, even where they are nan; images without any are left out. Defaults to None: all.
        block (int, optional): Rows of a block. Defaults to None: as many as make :data:`BLOCK` elements.

    Shape:
        - x_S: (N, n, C_S); x_T: (N, n, C_T); valid: (N, n); output: scalar.

    Raises:
        ValueError: The two are not as many vectors.

    Example:
        >>> x = torch.randn(2, 9, 4)
        >>> relation_kl(x, x).item()
        0.0
    """
    if x_S.dim() != 3 or x_T.dim() != 3 or x_S.shape[:2] != x_T.shape[:2]:
        got = f'{tuple(x_S.shape)}, {tuple(x_T.shape)}'
        raise ValueError(f'relation_kl: expected N x n x C_S and N x n x C_T. Got: {got}')
    n = x_S.shape[1]
    # Weight of each row's divergence, (N, n): the mean over the rows of an image, then over images.
    if valid is None:
        weight = x_S.new_full((len(x_S), n), 1 / (n * len(x_S)), dtype=full_precision(x_S).dtype)
    else:
        count = valid.sum(1, keepdim=True)
        images = (count > 0).sum().clamp(min=1)
        weight = valid / (count.clamp(min=1) * images).to(full_precision(x_S).dtype)
        x_S, x_T = (x.masked_fill(~valid.unsqueeze(2), 0) for x in (x_S, x_T))
    return _RelationKL.apply(x_S, x_T.detach(), tau, valid, weight, block or max(BLOCK // (n * len(x_S)), 1))


class _RelationKL(KeptGradient):
    """By hand, for the memory: autograd would keep several matrices of n x n, or compute each block twice.

    With p the rows of R_S and q the rows of R_T, the gradient at the logits of a block is w (p - q) / tau. A
    logit is the product of a vector of the block and one of all, so each block adds to the gradient of both.
    """

    @staticmethod
    def forward(
        ctx: Any, x_S: Tensor, x_T: Tensor, tau: float, valid: Tensor | None, weight: Tensor, block: int
    ) -> Tensor:
        with without_autocast(x_S):
            phi_S, phi_T = (unit_vectors(full_precision(x)) for x in (x_S, x_T))  # (N, n, C)
            grad = torch.zeros_like(phi_S) if ctx.needs_input_grad[0] else None
            total = phi_S.new_zeros(())
            for start in range(0, x_S.shape[1], block):
                rows = slice(start, start + block)
                # log R of these rows, (N, block, n); then KL(R_T || R_S) of each row, (N, block).
                log_S, log_T = (_log_rows(phi, rows, tau, valid) for phi in (phi_S, phi_T))
                q = log_T.exp()
                kl = log_T.sub_(log_S).mul_(q).sum(-1).clamp(min=0)  # rounding may leave less than 0
                total += (kl * weight[:, rows]).sum()
                if grad is not None:
                    # w (p - q) / tau, in place of log R_S; to the vectors of the rows, then to all.
                    slope = log_S.exp_().sub_(q).mul_(weight[:, rows, None] / tau)
                    grad[:, rows] += slope @ phi_S
                    grad.baddbmm_(slope.mT, phi_S[:, rows])
            if grad is not None:  # from the unit vectors to x_S
                _RelationKL.keep(ctx, unit_vectors_backward(grad, phi_S, full_precision(x_S)), x_S)
        return total


def _log_rows(phi: Tensor, rows: slice, tau: float, valid: Tensor | None) -> Tensor:
    """log R of some rows; hugely negative in columns that do not count, as -inf - (-inf) is nan."""
    logits = (phi[:, rows] @ phi.mT).div_(tau)
    if valid is not None:
        logits.masked_fill_(~valid.unsqueeze(1), torch.finfo(phi.dtype).min / 4)
    return logits.sub_(logits.logsumexp(-1, keepdim=True))
