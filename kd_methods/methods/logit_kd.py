"""Logit KD: the student learns the teacher's class probabilities of each pixel.

Hinton, Vinyals, Dean. Distilling the knowledge in a neural network. arXiv 1503.02531, applied to each pixel.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.grids import Resize
from kd_methods.distill.labels import COUNTED
from kd_methods.distill.loss_config import add_parsed, check_unknown, check_weight, parse_loss
from kd_methods.methods.option_loss import OptionLoss
from kd_methods.networks.heads import decode_head, ignored_label
from kd_methods.networks.taps import Tap
from kd_methods.ops.labels import not_ignored
from kd_methods.ops.reductions import full_precision, valid_mean, without_autocast
from kd_methods.ops.vectors import check_same_maps
from kd_methods.utils.options import Option, Positive, Share, check_names, checked


@checked
def logit_kd(
    logits_S: Tensor,
    logits_T: Tensor,
    label: Tensor | None = None,
    tau: Positive = 1.0,
    sigmoid: bool = False,
    hard: bool = False,
    confidence: Share = 0.0,
    ignore_index: int | None = 255,
) -> Tensor:
    r"""KL divergence between the class probabilities of two networks, per pixel.

    .. math:: L = \frac{\tau^2}{|V|} \sum_{i \in V} KL(\sigma(z^T_i / \tau) \,\|\, \sigma(z^S_i / \tau))

    with :math:`\sigma` the softmax over the classes, :math:`V` the pixels that are not ignored, and
    :math:`\tau^2`, which keeps the scale of the gradient, from the paper. Of a head that gives each class a
    sigmoid, it is the sum of the divergences of the classes, present or absent. That pixels without a label
    are left out is ours.

    Args:
        logits_S (Tensor): The student's logits.
        logits_T (Tensor): The teacher's, of the same classes and size; they get no gradient.
        label (Tensor | None): Labels, which say what is ignored. Defaults to None: nothing is.
        tau (float): Temperature. Defaults to 1.0.
        sigmoid (bool): Each class has a sigmoid. A single channel always has. Defaults to False.
        hard (bool): The teacher's likeliest class alone is the target: pseudo-labels (Lee, ICML workshop
            2013), cross-entropy with temperature 1 for the softmax. Defaults to False.
        confidence (float): Pixels at which the teacher's likeliest class has a lower probability do not
            count. Defaults to 0: all do.
        ignore_index (int | None): The label to ignore. Defaults to 255.

    Shape:
        - logits_S, logits_T: (N, K, H, W); label: (N, h, w) or (N, 1, h, w); output: scalar.

    Raises:
        ValueError: The logits differ in their shapes.

    Example:
        >>> z = torch.tensor([0.9, 0.1]).log().view(1, 2, 1, 1)
        >>> round(logit_kd(torch.zeros(1, 2, 1, 1), z).item(), 4)  # 0.9 log 1.8 + 0.1 log 0.2
        0.3681
    """
    check_same_maps('logit_kd', 'K', logits_S=logits_S, logits_T=logits_T)
    with without_autocast(logits_S):
        z_S, z_T = (full_precision(z) / tau for z in (logits_S, logits_T.detach()))
        # KL at each pixel: (N, K, H, W) -> (N, H, W).
        sigmoid = sigmoid or z_S.shape[1] == 1
        if hard:
            z_T = _certain(z_T, sigmoid)
        if sigmoid:
            # Of a class: p log(p / q) + (1 - p) log((1 - p) / (1 - q)), p of the teacher, q of the student.
            present = z_T.sigmoid() * (F.logsigmoid(z_T) - F.logsigmoid(z_S))
            divergence = (present + (-z_T).sigmoid() * (F.logsigmoid(-z_T) - F.logsigmoid(-z_S))).sum(1)
        else:
            log_S, log_T = z_S.log_softmax(1), z_T.log_softmax(1)
            divergence = F.kl_div(log_S, log_T, reduction='none', log_target=True).sum(1)
        valid = not_ignored(label, z_S.shape[2:], ignore_index)
        if confidence > 0:
            sure = _confidence(logits_T.detach(), sigmoid) >= confidence
            valid = sure if valid is None else valid & sure
        return tau**2 * valid_mean(divergence, valid)


def _certain(logits: Tensor, sigmoid: bool) -> Tensor:
    """Logits of the same decisions, with probabilities of 0 and 1: (N, K, H, W)."""
    sure = 100.0  # exp(-100) is 0 in a sum with 1
    if sigmoid:
        return torch.where(logits > 0, sure, -sure)
    return torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), sure)


def _confidence(logits: Tensor, sigmoid: bool) -> Tensor:
    """Probability of the decision at each pixel, of sigmoids the least: (N, K, H, W) -> (N, H, W)."""
    logits = full_precision(logits)
    return logits.abs().sigmoid().amin(1) if sigmoid else logits.softmax(1).amax(1)


@MODELS.register_module()
class LogitKDLoss(OptionLoss, function=logit_kd):
    """Module of :func:`logit_kd`.

    Args:
        tau (float): Temperature. Defaults to 1.0.
        sigmoid (bool): Each class has a sigmoid. Defaults to False.
        hard (bool): Pseudo-labels instead of probabilities. Defaults to False.
        confidence (float): Probability below which a pixel of the teacher does not count. Defaults to 0.
        ignore_index (int | None): The label to ignore. Defaults to 255.
        loss_weight (float): Factor of the loss. Defaults to 1.0.

    Example:
        >>> logits_S, logits_T = torch.randn(2, 5, 8, 8, requires_grad=True), torch.randn(2, 5, 8, 8)
        >>> LogitKDLoss(tau=2.0)(logits_S, logits_T, torch.randint(0, 5, (2, 32, 32))).backward()
    """

    own_grids = False  # the distiller brings both to one

    def forward(self, logits_S: Tensor, logits_T: Tensor, label: Tensor | None = None) -> Tensor:
        """Loss of a batch, times its weight."""
        return self.loss_weight * self.function(logits_S, logits_T, label, **self.options)


@MODELS.register_module()
class LogitKDDistiller(MethodDistiller):
    """Logit KD between two segmentors of the same classes; see :func:`logit_kd`.

    The method to try first: it has no layers of its own, and nothing to tune but its weight. The ignored
    label, and whether the head has sigmoids, come from the student. Logits of two sizes are brought to one.

    Args:
        loss_weight (float | str | dict): Weight of the loss, a number or ``'auto'``. Defaults to 1.0.
        schedule (dict | None): The loss over the iterations, see
            :class:`~kd_methods.distill.loss_weights.LossSchedule`. Defaults to None.
        resize (str): Whose logits are resized where the sizes differ: ``'student'``, ``'teacher'`` or
            ``'never'``. Defaults to 'student'.
        init_cfg (dict | None): Initialisation. Defaults to None.
        **options: Options of :class:`LogitKDLoss`.

    Example:
        >>> distiller = dict(type='LogitKDDistiller', tau=2.0, loss_weight='auto')
    """

    def __init__(
        self,
        loss_weight: float | str | dict = 1.0,
        schedule: dict | None = None,
        resize: Resize = 'student',
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        check_unknown(type(self), options, LogitKDLoss)
        cfg = dict(options, loss_weight=loss_weight, schedule=schedule)
        self.options = parse_loss('distiller', cfg, LogitKDLoss)
        super().__init__(taps=dict(logits='logits'), resize=resize, init_cfg=init_cfg)

    def configure(self, student: dict[str, Tap], teacher: dict[str, Tap]) -> None:
        add_logit_kd(self, self.options)


def parse_logit_kd(cfg: Any, key: str = 'distiller.logit_kd') -> dict | None:
    """Read another method's option ``logit_kd``: None, a weight, or a dict of ``loss_weight``, ``tau``,
    ``schedule``.

    Example:
        >>> parse_logit_kd(0.5)
        {'loss_weight': 0.5, 'tau': 1.0, 'schedule': None}
    """
    if cfg is None or cfg is False:
        return None
    weight_key = f'{key}.loss_weight'
    if not isinstance(cfg, dict) or cfg.get('type') == 'auto':
        cfg, weight_key = dict(loss_weight=cfg), key
    full = dict(loss_weight=1.0, tau=1.0, schedule=None)
    check_names(f'{key}:', cfg, set(full))
    full.update(cfg)
    check_weight(weight_key, full['loss_weight'])
    Option.read(Positive).check(key, 'tau', full['tau'])
    return full


def add_logit_kd(distiller: MethodDistiller, cfg: dict) -> None:
    """Add ``loss_kd`` on the tap ``'logits'`` to a distiller; to be called in its ``configure``.

    Args:
        distiller (MethodDistiller): With both networks.
        cfg (dict): Options of :class:`LogitKDLoss`, its weight and schedule.
    """
    head = decode_head(distiller.student_network)
    losses = getattr(head, 'loss_decode', None)
    losses = losses if isinstance(losses, torch.nn.ModuleList) else [losses]
    found = dict(
        sigmoid=any(getattr(loss, 'use_sigmoid', False) for loss in losses),
        ignore_index=ignored_label(distiller.student_network),
    )
    logits = dict(logits_S=distiller.from_student('logits'), logits_T=distiller.from_teacher('logits'))
    label = dict(from_data=COUNTED)
    add_parsed(distiller, 'loss_kd', LogitKDLoss, {**found, **cfg}, **logits, label=label)
