"""Class scores: divergences between them, the label's share of them, and their size."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .reductions import full_precision

REDUCTIONS = ('position', 'element')


def channel_kl(x_S: Tensor, x_T: Tensor, reduction: str = 'position') -> Tensor:
    r"""KL divergence between the softmax over channels of two maps or vectors, :math:`KL(P_T \| P_S)`.

    Args:
        x_S (Tensor): The student's.
        x_T (Tensor): The teacher's; it gets no gradient.
        reduction (str): ``'position'`` sums over channels and takes the mean over positions; ``'element'`` takes the mean
            over all elements, which is C times smaller. Defaults to 'position'.

    Shape:
        - x_S, x_T: (N, C, *), of one shape; output: scalar.

    Example:
        >>> x_T = torch.tensor([[0.9, 0.1]]).log()
        >>> round(channel_kl(torch.zeros(1, 2), x_T).item(), 4)  # 0.9 log 1.8 + 0.1 log 0.2
        0.3681
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction!r} is not known. Possible: {', '.join(map(repr, REDUCTIONS))}")
    log_S = F.log_softmax(full_precision(x_S), 1)
    log_T = F.log_softmax(full_precision(x_T.detach()), 1)
    total = F.kl_div(log_S, log_T, reduction='sum', log_target=True)
    return total / (log_S.numel() if reduction == 'element' else log_S.numel() // log_S.shape[1])


def target_log_odds(logits: Tensor, label: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    r"""Log-odds of the labelled class, :math:`u = z_y - \log \sum_{j \ne y} e^{z_j}`, so that :math:`p_y = \sigma(u)`.

    Log-probabilities of label and rest are then ``logsigmoid(u)`` and ``logsigmoid(-u)``, exact however large the logits.
    What these hold where ``valid`` is False has no influence, and gradient 0 even if it is nan.

    Args:
        logits (Tensor): Logits z. A single channel is that of a sigmoid, for the classes 0 and 1.
        label (Tensor): Labels y, in [0, K) also where they are not valid.
        valid (Tensor): Which of them count, bool.

    Returns:
        tuple[Tensor, Tensor]: u, and the logits with -inf at the label.

    Shape:
        - logits, second output: (N, K, H, W); label, valid, first output: (N, H, W).

    Example:
        >>> logits = torch.tensor([2.0, 1.0, 1.0]).view(1, 3, 1, 1)
        >>> u, _ = target_log_odds(logits, torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1, dtype=torch.bool))
        >>> torch.testing.assert_close(u.sigmoid(), logits.softmax(1)[:, 0])
    """
    logits = full_precision(logits)
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], 1)
    index, ignored = label.unsqueeze(1), ~valid.unsqueeze(1)
    target = logits.gather(1, index).masked_fill(ignored, 0).squeeze(1)
    rest = logits.masked_fill(ignored, 0).scatter_(1, index, -math.inf)  # one copy for both
    return target - rest.logsumexp(1), rest


def resize_map(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps to a grid by bilinear interpolation, ``align_corners=False``; as they are where they are on it."""
    same = tuple(x.shape[2:]) == tuple(size)
    return x if same else F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=False)
