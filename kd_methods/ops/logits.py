"""Class scores: divergences between them, the label's share of them, and their size."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.ops.reductions import full_precision
from kd_methods.utils.checks import check_choices

REDUCTIONS = ('position', 'element')


def channel_kl(x_S: Tensor, x_T: Tensor, reduction: str = 'position') -> Tensor:
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
    check_choices('channel_kl', dict(reduction=REDUCTIONS), reduction=reduction)
    if x_S.shape != x_T.shape:
        raise ValueError(
            f'channel_kl: x_S and x_T must have one shape. Got: {tuple(x_S.shape)}, {tuple(x_T.shape)}'
        )
    log_S = F.log_softmax(full_precision(x_S), 1)
    log_T = F.log_softmax(full_precision(x_T.detach()), 1)
    total = F.kl_div(log_S, log_T, reduction='sum', log_target=True)
    return total / (log_S.numel() if reduction == 'element' else log_S.numel() // log_S.shape[1])


def target_log_odds(logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
    r"""Log-odds of the labelled class, :math:`u = z_y - \log \sum_{j \ne y} e^{z_j}`, so that :math:`p_y =
    \sigma(u)`.

    Log-probabilities of label and rest are then ``logsigmoid(u)`` and ``logsigmoid(-u)``, exact however large
    the logits. What these hold where ``valid`` is False has no influence, and gradient 0 even if it is nan.

    Args:
        logits (Tensor): Logits z. A single channel is that of a sigmoid, for the classes 0 and 1.
        label (Tensor): Labels y, in [0, K) also where they are not valid.
        valid (Tensor): Which of them count, bool.

    Shape:
        - logits: (N, K, H, W); label, valid, output: (N, H, W).

    Example:
        >>> logits = torch.tensor([2.0, 1.0, 1.0]).view(1, 3, 1, 1)
        >>> u = target_log_odds(logits, torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1, dtype=torch.bool))
        >>> torch.testing.assert_close(u.sigmoid(), logits.softmax(1)[:, 0])
    """
    return _TargetLogOdds.apply(
        _two_channels(full_precision(logits)), label.unsqueeze(1), ~valid.unsqueeze(1)
    ).squeeze(1)


class _TargetLogOdds(torch.autograd.Function):
    """By hand, since autograd would keep three maps of all classes instead of one, and make five more on the
    way back.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, ignored: Tensor) -> Tensor:
        rest = logits.masked_fill(ignored, 0)
        target = rest.gather(1, index)
        top = rest.scatter_(1, index, -math.inf).amax(1, keepdim=True)
        total = rest.sub_(top).exp_().sum(1, keepdim=True)
        ctx.save_for_backward(rest.div_(total), index, ignored)  # now the distribution over the other classes
        return target - top - total.log()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        share, index, ignored = ctx.saved_tensors
        grad = grad.masked_fill(ignored, 0)
        return (share * -grad).scatter_(1, index, grad), None, None


def non_target_kl(
    logits_S: Tensor, logits_T: Tensor, label: Tensor, valid: Tensor, kappa: float = 0.0
) -> Tensor:
    r"""KL divergence between the distributions q over the classes other than the labelled one, at each pixel.

    With ``kappa`` each class has a weight of its own, larger where student and teacher differ, 1 on average,
    and a constant to the gradient:

    .. math:: \sum_{j \ne y} w_j \left[ q^T_j \log \frac{q^T_j}{q^S_j} - q^T_j + q^S_j \right], \qquad
              w_j = \frac{1 + \kappa\, |q^T_j - q^S_j| / \mathrm{mean}_j |q^T_j - q^S_j|}{1 + \kappa}

    Every bracket is 0 or more, and 0 only at equality, so no weight moves the minimum; with weights of 1 the
    sum is the KL divergence.

    Shape and further arguments as of :func:`target_log_odds`; the output is 0 where ``valid`` is False. The
    teacher gets no gradient.

    Args:
        kappa (float): How much the weights depend on the difference; 0: not at all. Defaults to 0.0.

    Example:
        >>> logits, other = torch.zeros(1, 4, 1, 1), torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 4, 1, 1)
        >>> label, valid = torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1, dtype=torch.bool)
        >>> round(non_target_kl(logits, other, label, valid).item(), 4)
        0.2662
    """
    logits = (_two_channels(full_precision(x)) for x in (logits_S, logits_T.detach()))
    return _NonTargetKL.apply(*logits, label.unsqueeze(1), ~valid.unsqueeze(1), kappa).squeeze(1)


class _NonTargetKL(torch.autograd.Function):
    """By hand: the gradient is known with the value, and is all that has to be kept."""

    @staticmethod
    def forward(
        ctx: Any, logits_S: Tensor, logits_T: Tensor, index: Tensor, ignored: Tensor, kappa: float
    ) -> Tensor:
        log_S, log_T = (
            x.masked_fill(ignored, 0).scatter_(1, index, -math.inf).log_softmax(1)
            for x in (logits_S, logits_T)
        )
        ratio = (log_T - log_S).scatter_(1, index, 0)
        q_S, q_T = log_S.exp_(), log_T.exp_()
        terms, grad = ratio.mul_(q_T), q_S - q_T
        if kappa:
            difference = grad.abs()
            mean = difference.sum(1, keepdim=True) / max(grad.shape[1] - 1, 1)
            weight = difference.div_(mean).mul_(kappa).add_(1).div_(1 + kappa).masked_fill_(mean == 0, 1)
            terms = terms.add_(grad).mul_(weight)
            grad = grad.mul_(weight)
            grad = grad.sub_(q_S * grad.sum(1, keepdim=True))
        ctx.save_for_backward(grad)
        return terms.sum(1, keepdim=True).masked_fill(ignored, 0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        return ctx.saved_tensors[0] * grad, None, None, None, None


def _two_channels(logits: Tensor) -> Tensor:
    """The logit of a sigmoid as those of a softmax over two classes; others as they are."""
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
