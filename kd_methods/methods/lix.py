"""LIX: from a teacher that sees RGB and a geometric modality X to a student that sees RGB alone.

Guo, Long, Wu, Chen, Pitas, Fan. LIX: implicitly infusing spatial geometric prior knowledge into visual
semantic segmentation. arXiv 2403.08215; IEEE Transactions on Image Processing (2025).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.levels import check_features
from kd_methods.distill.loss_config import NO_CHANGES, add_parsed, check_unknown, parse_losses
from kd_methods.distill.loss_weights import split_auto_weight
from kd_methods.methods.option_loss import OptionLoss
from kd_methods.networks.taps import Tap
from kd_methods.ops.alignment import Estimator, Kernel, cka, kernel_regression, standardise
from kd_methods.ops.decoupled import Resolution, Term, decoupled_loss
from kd_methods.ops.grids import common_grid, pool_map
from kd_methods.ops.reductions import full_precision, without_autocast
from kd_methods.ops.vectors import check_feature
from kd_methods.utils.options import Bounds, NonNegative, Positive, checked

STAGES = ('backbone.1', 'backbone.2', 'backbone.3')


@checked
def dwld_loss(
    logits_S: Tensor,
    logits_T: Tensor,
    label: Tensor,
    controller: Literal['kd', 'dkd', 'pixel', 'logit'] = 'logit',
    gamma: NonNegative = 2.0,
    kappa: NonNegative = 1.0,
    alpha: NonNegative = 1.0,
    beta: NonNegative = 1.0,
    tau: Positive = 1.0,
    teacher_errors: Literal['keep', 'mask'] = 'keep',
    resolution: Resolution = 'label',
    ignore_index: int | None = 255,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The maths of :class:`DWLDLoss`, without its loss weight: the loss and detached statistics.

    Example:
        >>> S, T = torch.zeros(1, 3, 1, 1), torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1, 1)
        >>> loss, _ = dwld_loss(S, T, torch.zeros(1, 1, 1, dtype=torch.long), controller='kd')
        >>> round(loss.item(), 4)  # KL((.665, .245, .090) || (1/3, 1/3, 1/3))
        0.2662
    """

    def terms(u_S: Tensor, u_T: Tensor, others: Tensor) -> Term:
        # TCLD = KL(b_T || b_S) with b = (p_y, 1 - p_y), from log-odds; its derivative by u_S is s - t.
        t, rest = u_T.sigmoid(), (-u_T).sigmoid()
        target = t * (F.logsigmoid(u_T) - F.logsigmoid(u_S))
        target = target + rest * (F.logsigmoid(-u_T) - F.logsigmoid(-u_S))
        # a TCLD + b NCLD.
        a: float = alpha if controller == 'dkd' else 1.0
        b: Any = beta if controller == 'dkd' else rest + (0.0 if controller == 'kd' else gamma) * t
        return Term(a * target + b * others, a * (u_S.sigmoid() - t), b, (target, others, t))

    weighted = kappa if controller == 'logit' else 0.0
    grids = dict(tau=tau, resolution=resolution, ignore_index=ignore_index)
    loss, *stats = decoupled_loss(
        terms, logits_S, logits_T, label, **grids, kappa=weighted, teacher_errors=teacher_errors
    )
    return loss, dict(zip(('tcld', 'ncld', 't'), stats))


@checked
def arfd_loss(
    feat_S: Tensor,
    feat_T: Tensor,
    recalibrate: Literal['both', 'teacher', 'student', 'none'] = 'both',
    bandwidth: Positive = 1.0,
    kernel: Kernel = 'linear',
    estimator: Estimator = 'debiased',
    max_tokens: Annotated[int, Bounds(4)] = 1024,
) -> Tensor:
    """The maths of :class:`ARFDLoss`, which explains the arguments, without its loss weight.

    Example:
        >>> feature, constant = torch.randn(2, 8, 6, 6), torch.zeros(2, 4, 6, 6)
        >>> round(arfd_loss(feature, feature).abs().item(), 4), arfd_loss(constant, feature).item()
        (0.0, 0.0)
    """
    grid = common_grid(feat_S.shape[2:], feat_T.shape[2:], max_tokens)
    if grid[0] * grid[1] < 4:
        got = f'Tap an earlier stage. Got: feat_S {tuple(feat_S.shape)}, feat_T {tuple(feat_T.shape)}'
        raise ValueError(f'ARFDLoss: the maps share {grid[0]} x {grid[1]} places, and need 4 or more. {got}')
    with without_autocast(feat_S):
        tokens = []
        for side, feature in (('student', feat_S), ('teacher', feat_T.detach())):
            x = full_precision(pool_map(feature, grid)).flatten(2).mT  # X, (N, n, C)
            if recalibrate in ('both', side):
                # W is almost uniform: next to a large mean little of W X survives rounding. So centre first.
                x = kernel_regression(standardise(x), bandwidth, standard=True)
            tokens.append(standardise(x))
        alignment, defined = cka.unchecked(*tokens, kernel, estimator, bandwidth)  # (N,) each
        return (1 - alignment).masked_fill(~defined, 0).mean()


@MODELS.register_module()
class DWLDLoss(OptionLoss, function=dwld_loss):
    r"""Dynamically weighted logit distillation.

    At a valid pixel with label y and softmax :math:`p` at temperature :math:`\tau`, let
    :math:`b = (p_y, 1 - p_y)`, and :math:`q_j = p_j / (1 - p_y)` over the other classes. The KL divergence is
    a sum over the two (Zhao et al. CVPR 2022):

    .. math:: KL(p^T \| p^S) = \underbrace{KL(b^T \| b^S)}_{TCLD}
              + (1 - p^T_y)\, \underbrace{KL(q^T \| q^S)}_{NCLD}

    .. math:: L = \frac{\tau^2}{|valid|} \sum_i a_i\, TCLD_i + b_i\, NCLD_i

    with weights from a controller, constants to the gradient; :math:`t = p^T_y`:

    ==========  ==============  =========================  ===========================================
    controller  :math:`a`       :math:`b`
    ==========  ==============  =========================  ===========================================
    ``kd``      1               :math:`1 - t`              KL divergence
    ``dkd``     :math:`\alpha`  :math:`\beta`              decoupled KD
    ``pixel``   1               :math:`1 - t + \gamma t`   ``kd`` with :math:`\gamma = 0`,
                                                           ``dkd`` of 1 and 1 with :math:`\gamma = 1`
    ``logit``   1               :math:`1 - t + \gamma t`   each class is weighted inside NCLD too, see
                                                           :func:`~kd_methods.ops.logits.non_target_kl`
    ==========  ==============  =========================  ===========================================

    Guo et al. arXiv 2403.08215 argue that one fixed weight of NCLD cannot serve every pixel and weigh logit
    by logit. Their controller's formula was not available to us: ``pixel`` and ``logit`` are ours.

    Args:
        controller (str): ``'kd'``, ``'dkd'``, ``'pixel'`` or ``'logit'``. Defaults to 'logit'.
        gamma (float): Weight of NCLD where the teacher is sure, of ``pixel`` and ``logit``. Defaults to 2.0.
        kappa (float): How much more a class counts on which the two disagree, of ``logit``; 0: not at all,
            which is ``pixel``. With three classes or fewer it has no effect. Defaults to 1.0.
        alpha (float): Weight of TCLD, of ``dkd``. Defaults to 1.0.
        beta (float): Weight of NCLD, of ``dkd``. Defaults to 1.0.
        tau (float): Temperature. Defaults to 1.0.
        teacher_errors (str): ``'mask'`` leaves out pixels that the teacher gets wrong. Defaults to 'keep'.
        resolution (str): ``'label'``: both logits are brought to the label's size, bilinearly; ``'logits'``:
            labels to the student's grid, nearest neighbour, which is cheaper. Defaults to 'label'.
        ignore_index (int, optional): Label to ignore besides those outside [0, K). Defaults to 255.
        loss_weight (float): Factor of the loss. Defaults to 1.0.

    Attributes:
        stats (dict[str, Tensor]): Of the last forward, detached: means of ``tcld``, ``ncld`` and ``t``.

    Shape:
        - logits_S: (N, K, H, W); logits_T: (N, K, H', W'). K = 1: the logit of a sigmoid.
        - label: (N, h, w) or (N, 1, h, w), integers; output: scalar. With two classes NCLD is 0.

    Example:
        >>> loss = DWLDLoss()
        >>> logits = torch.randn(2, 5, 8, 8, requires_grad=True)
        >>> loss(logits, torch.randn(2, 5, 16, 16), torch.randint(0, 5, (2, 32, 32))).backward()
        >>> sorted(loss.stats)
        ['ncld', 't', 'tcld']
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.options['controller'] == 'dkd' and not (self.options['alpha'] or self.options['beta']):
            self.loss_weight = 0.0  # a loss without any part is never run

    def forward(self, logits_S: Tensor, logits_T: Tensor, label: Tensor) -> Tensor:
        """Loss of a batch, times its weight."""
        loss, self.stats = self.function(logits_S, logits_T, label, **self.options)
        return self.loss_weight * loss


@MODELS.register_module()
class ARFDLoss(OptionLoss, function=arfd_loss):
    r"""Adaptively recalibrated feature distillation: kernel regression, then centred kernel alignment.

    Both maps are pooled to one grid of n places: each image gives :math:`X_S \in R^{n \times C_S}` and
    :math:`X_T \in R^{n \times C_T}`. Each is recalibrated by its own Laplace kernel, with rows that sum to 1:

    .. math:: \tilde X = W X, \qquad W_{ij} \propto e^{-\lVert x_i - x_j \rVert_2 / \sigma}, \qquad
              L = 1 - CKA(\tilde X_S, \tilde X_T)

    averaged over images. CKA compares relations between places: there is no adapter.

    Guo et al. arXiv 2403.08215: kernel regression and CKA; Laplace kernel and HSIC are a third party's
    account. Our choices: how they combine, the median distance as :math:`\sigma`, the debiased HSIC.

    Args:
        recalibrate (str): ``'both'``, ``'teacher'``, ``'student'`` or ``'none'``. Defaults to 'both'.
        bandwidth (float): :math:`\sigma` relative to the median distance. Defaults to 1.0.
        kernel (str): Of CKA: ``'linear'`` or ``'laplace'``. Defaults to 'linear'.
        estimator (str): ``'debiased'`` or ``'biased'``. Defaults to 'debiased'.
        max_tokens (int): Most places of the grid; time and memory go with its square. Defaults to 1024.
        loss_weight (float): Factor of the loss. Defaults to 1.0.

    Shape:
        - feat_S: (N, C_S, H, W); feat_T: (N, C_T, H', W').
        - output: scalar, from 0 to 2. An image on which a map varies by less than 1/1000 of its size has 0.

    Raises:
        ValueError: The maps have fewer than 4 places in common; an unknown option.

    Example:
        >>> loss = ARFDLoss()
        >>> loss(torch.randn(2, 8, 6, 6, requires_grad=True), torch.randn(2, 16, 12, 12)).backward()
    """

    def forward(self, feat_S: Tensor, feat_T: Tensor) -> Tensor:
        """Loss of a batch, times its weight."""
        for name, x in (('feat_S', feat_S), ('feat_T', feat_T)):
            check_feature(x, feat_S, name)
        return self.loss_weight * self.function(feat_S, feat_T, **self.options)


@MODELS.register_module()
class LIXDistiller(MethodDistiller):
    """LIX: :class:`DWLDLoss` between the logits and :class:`ARFDLoss` between features of several stages.

    A teacher of RGB alone works too. With an RGB-X teacher ``inputs`` of the algorithm says who sees what.

    Args:
        student_features (str | Sequence[str], optional): Taps of the student's maps, one for a loss each.
            Defaults to None: ``'backbone.1'`` to ``'backbone.3'``.
        teacher_features (str | Sequence[str], optional): As many of the teacher's; for late fusion, take
            ``'features'``, its only map of both. Defaults to None: likewise, of fused stages.
        dwld (dict, optional): Arguments of :class:`DWLDLoss`, with a number or ``'auto'`` as ``loss_weight``,
            and a ``schedule``. None: without it. Defaults to ``{}``.
        arfd (dict, optional): Likewise of :class:`ARFDLoss`, with the weight shared out. Defaults to ``{}``.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Example:
        >>> dwld, arfd = dict(controller='pixel'), dict(loss_weight='auto')
        >>> distiller = dict(type='LIXDistiller', dwld=dwld, arfd=arfd)
    """

    def __init__(
        self,
        student_features: str | Sequence[str] | None = None,
        teacher_features: str | Sequence[str] | None = None,
        dwld: Mapping | None = NO_CHANGES,
        arfd: Mapping | None = NO_CHANGES,
        init_cfg: dict | None = None,
        **unknown: Any,
    ) -> None:
        check_unknown(type(self), unknown)
        check_features('distiller', student_features=student_features, teacher_features=teacher_features)
        self.dwld, self.arfd = parse_losses(type(self), dwld=(dwld, DWLDLoss), arfd=(arfd, ARFDLoss))
        taps: dict[str, Any] = {}
        if self.arfd is not None:
            pairs = [
                [given] if isinstance(given, str) else list(STAGES if given is None else given)
                for given in (student_features, teacher_features)
            ]
            if not pairs[0] or len(pairs[0]) != len(pairs[1]):
                must = 'student_features and teacher_features must name as many maps each, one or more'
                raise ValueError(f'distiller: {must}. Got: {pairs[0]}, {pairs[1]}')
            taps.update({f'feature_{i}': dict(student=s, teacher=t) for i, (s, t) in enumerate(zip(*pairs))})
        elif student_features or teacher_features:
            given = 'student_features and teacher_features are taps of ARFD'
            raise ValueError(f'distiller: {given}, but arfd=None. Leave them out')
        logits = {} if self.dwld is None else dict(logits='logits')
        super().__init__(taps={**taps, **logits}, init_cfg=init_cfg)

    def configure(self, student: dict[str, Tap], teacher: dict[str, Tap]) -> None:
        if self.dwld is not None:
            maps = dict(logits_S=self.from_student('logits'), logits_T=self.from_teacher('logits'))
            add_parsed(self, 'loss_dwld', DWLDLoss, self.dwld, **maps, label=dict(from_data='gt_sem_seg'))
        if self.arfd is not None:
            maps = [tap for tap in student if tap != 'logits']
            weight = self.arfd.get('loss_weight', 1.0)
            weight = split_auto_weight(weight, len(maps), 'distiller.arfd.loss_weight')
            number = isinstance(weight, (int, float))
            cfg = dict(self.arfd, loss_weight=weight / len(maps) if number else weight)
            for i, tap in enumerate(maps):
                name = 'loss_arfd' if len(maps) == 1 else f'loss_arfd_{i}'
                feats = dict(feat_S=self.from_student(tap), feat_T=self.from_teacher(tap))
                add_parsed(self, name, ARFDLoss, cfg, **feats)
