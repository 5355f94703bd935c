"""Losses between logits split at the label: the labelled class against the rest, and within the rest."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from kd_methods.ops.grids import Interpolation
from kd_methods.ops.kept_gradient import KeptGradient
from kd_methods.ops.labels import fill_ignored, resize_labels
from kd_methods.ops.reductions import full_precision, without_autocast
from kd_methods.ops.vectors import check_feature

Resolution = Literal['label', 'logits']
#: Elements of a block: on a CPU near what its cache holds, on a device what keeps it busy.
BLOCK = dict(cpu=2**19)
DEVICE_BLOCK = 2**25


class Term(NamedTuple):
    """What a loss makes of some pixels, with the gradient by hand; all (n, 1, r, w).

    Attributes:
        value (Tensor): The loss.
        slope (Tensor): Its derivative by ``u_S``.
        others (Tensor | float): Its factor of ``others``.
        stats (tuple[Tensor, ...]): What else is averaged.
    """

    value: Tensor
    slope: Tensor
    others: Tensor | float = 0.0
    stats: tuple[Tensor, ...] = ()


#: Takes ``u_S``, ``u_T`` and ``others`` of some pixels, see :func:`decoupled_loss`.
Terms = Callable[[Tensor, Tensor, Tensor | None], Term]


def decoupled_loss(
    terms: Terms,
    logits_S: Tensor,
    logits_T: Tensor,
    label: Tensor,
    tau: float = 1.0,
    resolution: Resolution = 'label',
    ignore_index: int | None = 255,
    kappa: float | None = None,
    teacher_errors: Literal['keep', 'mask'] = 'keep',
) -> tuple[Tensor, ...]:
    r"""Mean over the valid pixels of a function of what the label makes of two networks' logits.

    With the label y and logits z, divided by the temperature, a pixel has the log-odds of its label, and the
    distribution over the other classes,

    .. math:: u = z_y - \log \sum_{j \ne y} e^{z_j}, \qquad
              q_j = e^{z_j} / \sum_{k \ne y} e^{z_k}, \quad j \ne y

    so that :math:`p_y = \sigma(u)`, exact however large the logits. ``terms`` gets both networks' u, and

    .. math:: others = \sum_{j \ne y} w_j \left[ q^T_j \log \frac{q^T_j}{q^S_j} - q^T_j + q^S_j \right],
              \qquad w_j = \frac{1 + \kappa\, |q^T_j - q^S_j| / \mathrm{mean}_j |q^T_j - q^S_j|}{1 + \kappa}

    with weights w that are constants, 1 on average. Brackets are 0 at equality, else more: no weight moves
    the minimum. :math:`\kappa = 0` makes it :math:`KL(q^T \| q^S)`.

    One pass over the pixels gives value and gradient, block by block: what is kept is the gradient at the
    student's logits, in their own size.

    Args:
        terms (Callable): The function.
        logits_S (Tensor): The student's logits. A single channel is that of a sigmoid.
        logits_T (Tensor): The teacher's, of the same classes; without gradient.
        label (Tensor): The label. Pixels that are ignored have no influence and gradient 0, even if nan.
        tau (float): Temperature; the loss is multiplied by its square. Defaults to 1.0.
        resolution (str): ``'label'``: logits are brought to the label's size, bilinearly; ``'logits'``: all
            to the student's grid. Defaults to 'label'.
        ignore_index (int, optional): Label to ignore besides those outside [0, K). Defaults to 255.
        kappa (float, optional): As above. Defaults to None: without ``others``.
        teacher_errors (str): ``'mask'`` leaves out pixels at which the teacher is wrong. Defaults to 'keep'.

    Shape:
        - logits_S: (N, K, H, W); logits_T: (N, K, H', W'); label: (N, h, w) or (N, 1, h, w), integers.
        - output: the loss and the means of ``stats``, scalars, detached.

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
    rows = (label.unsqueeze(1), valid.unsqueeze(1))
    return _DecoupledLoss.apply(
        logits_S, logits_T.detach(), *rows, terms, tau, kappa, teacher_errors == 'mask'
    )


class _DecoupledLoss(KeptGradient):
    """By hand: autograd would keep some ten maps of all classes in the label's size."""

    @staticmethod
    def forward(
        ctx: Any,
        logits_S: Tensor,
        logits_T: Tensor,
        label: Tensor,
        valid: Tensor,
        terms: Terms,
        tau: float,
        kappa: float | None,
        correct: bool,
    ) -> tuple[Tensor, ...]:
        with without_autocast(logits_S):
            size, wanted = label.shape[2:], ctx.needs_input_grad[0]
            z_S, z_T = (full_precision(x) / tau for x in (logits_S, logits_T))
            change_S, change_T = (Interpolation(x.shape[2:], size, x) for x in (z_S, z_T))
            gradient = torch.zeros_like(z_S) if wanted else None
            count, sums = valid.new_zeros((), dtype=z_S.dtype), []
            for images, strips in _blocks(label, z_S.shape[1], change_S.by_rows and change_T.by_rows):
                wide_S, wide_T = change_S.columns(z_S[images]), change_T.columns(z_T[images])
                narrow = torch.zeros_like(wide_S) if wanted else None
                for rows in strips:
                    index, counts = (x[images, :, rows] for x in (label, valid))
                    pair = change_S.rows(wide_S, rows), change_T.rows(wide_T, rows)
                    term, slope, counts = _pixels(*pair, index, counts, terms, kappa, correct, wanted)
                    count += counts.sum()
                    found = [x.masked_fill(~counts, 0).sum() for x in (term.value, *term.stats)]
                    sums = [a + b for a, b in zip(sums, found)] if sums else found
                    if wanted:
                        change_S.rows_back(slope, rows, narrow)
                if wanted:
                    gradient[images] = change_S.columns_back(narrow)
            count = count.clamp(min=1)
            if wanted:  # tau^2 / |valid| of the sum, and 1 / tau of z
                _DecoupledLoss.keep(ctx, gradient * (tau / count), logits_S)
            loss, *stats = (total / count for total in sums)
            ctx.mark_non_differentiable(*stats)
            return tau**2 * loss, *stats


def _blocks(label: Tensor, classes: int, by_rows: bool) -> Iterator[tuple[slice, list[slice]]]:
    """Images, and strips of their rows, as many as make a block."""
    n, _, height, width = label.shape
    most = BLOCK.get(label.device.type, DEVICE_BLOCK)
    images = max(most // (classes * height * width), 1)
    rows = max(most // (classes * width), 1) if images == 1 and by_rows else height
    strips = [slice(start, min(start + rows, height)) for start in range(0, height, rows)]
    for start in range(0, n, images):
        yield slice(start, start + images), strips


def _pixels(
    z_S: Tensor,
    z_T: Tensor,
    index: Tensor,
    counts: Tensor,
    terms: Terms,
    kappa: float | None,
    correct: bool,
    wanted: bool,
) -> tuple[Term, Tensor | None, Tensor]:
    """A block: the terms, their gradient at the student's logits (n, K, r, w), and which pixels count."""
    single = z_S.shape[1] == 1  # the logit of a sigmoid: that of a softmax over two classes
    if single:
        z_S, z_T = (torch.cat([torch.zeros_like(z), z], 1) for z in (z_S, z_T))
    (q_S, u_S, shift_S), (q_T, u_T, shift_T) = (_split(z, index) for z in (z_S, z_T))
    if correct:  # the label's class is the teacher's largest: of those that are equal, the first
        counts = counts & ((u_T > 0) if single else _is_first_largest(z_T, u_T + shift_T, index))
    others = slope = None
    if kappa is not None:
        # Terms q_T log(q_T / q_S), and the gradient of their sum at the student's logits; 0 at the label.
        part = z_T.sub_(z_S).sub_(shift_T - shift_S).scatter_(1, index, 0).mul_(q_T)
        slope = q_S - q_T
        if kappa:
            # w_j; where both agree everywhere (mean 0) it is 1. The label's own w meets only zeros.
            weight = slope.abs()
            mean = weight.sum(1, keepdim=True) / max(slope.shape[1] - 1, 1)
            weight = weight.div_(mean).mul_(kappa).add_(1).div_(1 + kappa).masked_fill_(mean == 0, 1)
            # w_j [q_T log(q_T / q_S) - q_T + q_S] and its gradient w_j (q_S - q_T), through the softmax.
            part = part.add_(slope).mul_(weight)
            slope = slope.mul_(weight)
            slope = slope.sub_(q_S * slope.sum(1, keepdim=True))
        others = part.sum(1, keepdim=True)
    term = terms(u_S, u_T, others)
    if not wanted:
        return term, None, counts
    # du/dz_y = 1 and du/dz_j = -q_j.
    gradient = q_S.mul_(-term.slope)
    if slope is not None:
        gradient.addcmul_(slope, torch.as_tensor(term.others, dtype=slope.dtype, device=slope.device))
    gradient = gradient.scatter_(1, index, term.slope).masked_fill_(~counts, 0)
    return term, gradient[:, 1:] if single else gradient, counts


def _split(z: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q (n, K, r, w), 0 at the label, and u; z becomes log q + shift in place, -inf at the label."""
    target = z.gather(1, index)
    z.scatter_(1, index, -math.inf)
    top = z.amax(1, keepdim=True)
    q = z.sub_(top).exp()
    total = q.sum(1, keepdim=True)
    shift = total.log()
    return q.div_(total), target - top - shift, shift


def _is_first_largest(z: Tensor, target: Tensor, index: Tensor) -> Tensor:
    """Whether argmax would say the label, whose logit is ``target``; z is without it."""
    largest, place = z.max(1, keepdim=True)
    return (target > largest) | ((target == largest) & (index < place))
