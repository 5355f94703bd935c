"""Divergence between the class scores of two networks."""

from typing import Any, Literal

from torch import Tensor

from kd_methods.ops.kept_gradient import KeptGradient
from kd_methods.ops.reductions import full_precision, without_autocast
from kd_methods.utils.options import checked

Reduction = Literal['position', 'element']


@checked
def channel_kl(x_S: Tensor, x_T: Tensor, reduction: Reduction = 'position') -> Tensor:
    r"""KL divergence between the softmax over channels of two maps or vectors, :math:`KL(P_T \| P_S)`.

    Args:
        x_S (Tensor): The student's.
        x_T (Tensor): The teacher's; it gets no gradient.
        reduction (str): ``'position'`` sums over channels and takes the mean over positions; ``'element'``
            takes the mean over all elements, which is C times smaller. Defaults to 'position'.

    Shape:
        - x_S, x_T: (N, C, *), of one shape; output: scalar.

    Example:
        >>> x_T = torch.tensor([[0.9, 0.1]]).log()
        >>> round(channel_kl(torch.zeros(1, 2), x_T).item(), 4)  # 0.9 log 1.8 + 0.1 log 0.2
        0.3681
    """
    if x_S.shape != x_T.shape:
        got = f'{tuple(x_S.shape)}, {tuple(x_T.shape)}'
        raise ValueError(f'channel_kl: x_S and x_T must have one shape. Got: {got}')
    # sum P_T (log P_T - log P_S), by N H W positions or by N C H W elements.
    total = _ChannelKL.apply(x_S, x_T.detach())
    return total / (x_S.numel() if reduction == 'element' else x_S.numel() // x_S.shape[1])


class _ChannelKL(KeptGradient):
    """By hand: one pass, of which the gradient P_S - P_T is kept."""

    @staticmethod
    def forward(ctx: Any, x_S: Tensor, x_T: Tensor) -> Tensor:
        with without_autocast(x_S):
            # x - max, and e^(x - max) with its sum over the channels.
            (z_S, p_S, sum_S), (z_T, p_T, sum_T) = (_exponentials(full_precision(x)) for x in (x_S, x_T))
            # KL of a position: sum P_T (z_T - z_S) - log sum_T + log sum_S.
            p_T = p_T.div_(sum_T)
            total = (z_T - z_S).mul_(p_T).sum(1, keepdim=True).add_(sum_S.log()).sub_(sum_T.log())
            if ctx.needs_input_grad[0]:
                _ChannelKL.keep(ctx, p_S.div_(sum_S).sub_(p_T), x_S)
            return total.sum()


def _exponentials(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z = x - x.amax(1, keepdim=True)
    exponentials = z.exp()
    return z, exponentials, exponentials.sum(1, keepdim=True)
