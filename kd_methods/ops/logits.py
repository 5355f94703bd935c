"""Class scores: divergences between them, and the label's share of them."""

import math
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_methods.ops.grids import resize_map
from kd_methods.ops.labels import fill_ignored, resize_labels
from kd_methods.ops.reductions import full_precision
from kd_methods.ops.vectors import check_feature
from kd_methods.utils.options import checked

Reduction = Literal['position', 'element']
Resolution = Literal['label', 'logits']


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
    log_S, log_T = (F.log_softmax(full_precision(x), 1) for x in (x_S, x_T.detach()))
    total = F.kl_div(log_S, log_T, reduction='sum', log_target=True)
    return total / (log_S.numel() if reduction == 'element' else log_S.numel() // log_S.shape[1])


class LabelledLogits(NamedTuple):
    """Logits of both networks on one grid, and what the label makes of them; see :func:`label_logits`.

    Shape:
        - z_S, z_T: (N, K, h, w), divided by the temperature; the teacher's without gradient.
        - u_S, u_T: (N, h, w), their :func:`target_log_odds`.
        - label: (N, h, w), 0 where it does not count; valid: (N, h, w), bool, where it does.
    """

    z_S: Tensor
    z_T: Tensor
    u_S: Tensor
    u_T: Tensor
    label: Tensor
    valid: Tensor


def label_logits(
    logits_S: Tensor,
    logits_T: Tensor,
    label: Tensor,
    tau: float = 1.0,
    resolution: Resolution = 'label',
    ignore_index: int | None = 255,
) -> LabelledLogits:
    """Bring logits of student and teacher and their label to one grid, in full precision.

    Args:
        logits_S (Tensor): The student's logits. A single channel is that of a sigmoid.
        logits_T (Tensor): The teacher's, of the same classes.
        label (Tensor): The label.
        tau (float): Temperature. Defaults to 1.0.
        resolution (str): ``'label'``: logits are brought to the label's size; ``'logits'``: all to the
            student's grid. Defaults to 'label'.
        ignore_index (int, optional): Label to ignore besides those outside [0, K). Defaults to 255.

    Shape:
        - logits_S: (N, K, H, W); logits_T: (N, K, H', W'); label: (N, h, w) or (N, 1, h, w), integers.

    Raises:
        TypeError: An argument is no tensor of its kind.
        ValueError: An argument has another shape, or the networks other classes.
    """
    for name, logits in (('logits_S', logits_S), ('logits_T', logits_T)):
        check_feature(logits, label, name)
    classes = logits_S.shape[1]
    if logits_T.shape[1] != classes:
        others = f'logits_T has {logits_T.shape[1]}. Take a teacher of the same classes'
        raise ValueError(f'logits_S has {classes} classes, {others}')
    size = label.shape[-2:] if resolution == 'label' else logits_S.shape[2:]
    label, valid = fill_ignored(resize_labels(label, size), max(classes, 2), ignore_index, fill=0)
    with torch.autocast(logits_S.device.type, enabled=False):
        z_S, z_T = (resize_map(full_precision(z) / tau, size) for z in (logits_S, logits_T.detach()))
        u_S, u_T = (target_log_odds(z, label, valid) for z in (z_S, z_T))
    return LabelledLogits(z_S, z_T, u_S, u_T, label, valid)


def target_log_odds(logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
    r"""Log-odds of the labelled class, :math:`u = z_y - \log \sum_{j \ne y} e^{z_j}`.

    :math:`p_y = \sigma(u)`: log-probabilities of label and rest are ``logsigmoid(u)`` and ``logsigmoid(-u)``,
    exact however large the logits. Where ``valid`` is False they have no influence and gradient 0, even if
    nan.

    Args:
        logits (Tensor): Logits z. A single channel is that of a sigmoid, for the classes 0 and 1.
        label (Tensor): Labels y, in [0, K) also where they are not valid.
        valid (Tensor): Which of them count, bool.

    Shape:
        - logits: (N, K, H, W); label, valid, output: (N, H, W).

    Example:
        >>> logits = torch.tensor([2.0, 1.0, 1.0]).view(1, 3, 1, 1)
        >>> label, valid = torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1, dtype=torch.bool)
        >>> u = target_log_odds(logits, label, valid)
        >>> torch.testing.assert_close(u.sigmoid(), logits.softmax(1)[:, 0])
    """
    logits = _two_channels(full_precision(logits))
    return _TargetLogOdds.apply(logits, label.unsqueeze(1), ~valid.unsqueeze(1)).squeeze(1)


class _TargetLogOdds(torch.autograd.Function):
    """By hand: autograd would keep three maps of all classes instead of one, and make five more backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, ignored: Tensor) -> Tensor:
        # target = z_y, top + log(total) = logsumexp of the other classes: (N, 1, H, W) of (N, K, H, W).
        rest = logits.masked_fill(ignored, 0)
        target = rest.gather(1, index)
        top = rest.scatter_(1, index, -math.inf).amax(1, keepdim=True)
        total = rest.sub_(top).exp_().sum(1, keepdim=True)
        ctx.save_for_backward(rest.div_(total), index, ignored)  # now the distribution over the other classes
        return target - top - total.log()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # du/dz_y = 1, and du/dz_j = -q_j for the others.
        share, index, ignored = ctx.saved_tensors
        grad = grad.masked_fill(ignored, 0)
        return (share * -grad).scatter_(1, index, grad), None, None


def non_target_kl(
    logits_S: Tensor, logits_T: Tensor, label: Tensor, valid: Tensor, kappa: float = 0.0
) -> Tensor:
    r"""KL divergence between the distributions q over the classes other than the labelled one, at each pixel.

    With ``kappa`` each class has a weight, larger where the two differ, 1 on average, a constant:

    .. math:: \sum_{j \ne y} w_j \left[ q^T_j \log \frac{q^T_j}{q^S_j} - q^T_j + q^S_j \right], \qquad
              w_j = \frac{1 + \kappa\, |q^T_j - q^S_j| / \mathrm{mean}_j |q^T_j - q^S_j|}{1 + \kappa}

    Brackets are 0 at equality, else more: no weight moves the minimum. Weights of 1 give the KL divergence.

    Shape and further arguments as of :func:`target_log_odds`; 0 where not ``valid``. The teacher gets no
    gradient.

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
        # log q over the other classes, (N, K, H, W); that of the label is -inf, and q is 0 there.
        pair = (x.masked_fill(ignored, 0).scatter_(1, index, -math.inf) for x in (logits_S, logits_T))
        log_S, log_T = (x.log_softmax(1) for x in pair)
        ratio = (log_T - log_S).scatter_(1, index, 0)
        q_S, q_T = log_S.exp_(), log_T.exp_()
        # Without weights: terms q_T log(q_T / q_S), and the gradient of their sum by the student's logits.
        terms, grad = ratio.mul_(q_T), q_S - q_T
        if kappa:
            # w_j; where both agree everywhere (mean 0) it is 1. The label's own w meets only zeros.
            difference = grad.abs()
            mean = difference.sum(1, keepdim=True) / max(grad.shape[1] - 1, 1)
            weight = difference.div_(mean).mul_(kappa).add_(1).div_(1 + kappa).masked_fill_(mean == 0, 1)
            # w_j [q_T log(q_T / q_S) - q_T + q_S] and its gradient w_j (q_S - q_T), through the softmax.
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
