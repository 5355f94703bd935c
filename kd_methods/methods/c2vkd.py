"""C2VKD: from a CNN teacher to a vision-transformer student.

Zheng, Luo, Zhou, Wang. Distilling efficient vision transformers from CNNs for semantic segmentation.
arXiv 2310.07265; Pattern Recognition (2025).
"""

import math
from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.loss_config import NO_CHANGES, add_parsed, check_unknown, parse_losses
from kd_methods.methods.option_loss import OptionLoss
from kd_methods.methods.pools import Pool, build_pool
from kd_methods.networks.taps import Tap
from kd_methods.ops.decoupled import Resolution, Term, decoupled_loss
from kd_methods.ops.gram import relation_distance
from kd_methods.ops.grids import resize_map
from kd_methods.ops.logits import Reduction, channel_kl
from kd_methods.ops.reductions import full_precision, without_autocast
from kd_methods.ops.vectors import check_same_maps
from kd_methods.utils.options import Count, NonNegative, Positive, checked

LAST_STAGE = 'backbone.-1'
GramScale = Literal['none', 'channel']


@checked
def patch_loss(feat_S: Tensor, feat_T: Tensor, gram_scale: GramScale = 'none') -> Tensor:
    r"""Mean squared difference of the relations between all positions of the batch, ``mean (M_S - M_T)^2``.

    The C-vector of each position is scaled to length 1, then its own mean is taken off: these are the rows of
    X, and :math:`M = X X^\top` (``gram_scale='none'``) or :math:`X X^\top / (C - 1)` (``'channel'``). Pairs
    of two images count like pairs of one. Matrices are (N H W)^2 or C x C, whichever is smaller.

    Shape:
        - feat_S, feat_T: (N, C, H, W), of one shape; output: scalar.

    Example:
        >>> feature = torch.randn(2, 8, 4, 4)
        >>> patch_loss(4 * feature, feature).item()
        0.0
    """
    check_same_maps('patch_loss', feat_S=feat_S, feat_T=feat_T)
    # mean (M_S - M_T)^2 = |X_S X_S' - X_T X_T'|^2 / (N H W)^2, and M has its divisor C - 1 squared.
    n, channels = feat_S.shape[0] * feat_S.shape[2:].numel(), feat_S.shape[1]
    scale = 1 if gram_scale == 'none' else max(channels - 1, 1)
    return relation_distance(feat_S, feat_T) / (n * scale) ** 2


@checked
def pdd_loss(
    logits_S: Tensor,
    logits_T: Tensor,
    label: Tensor,
    alpha: NonNegative = 0.5,
    beta: NonNegative = 0.5,
    direction: Literal['forward', 'reverse'] = 'forward',
    tau: Positive = 1.0,
    nckd_weight: NonNegative = 0.0,
    resolution: Resolution = 'label',
    ignore_index: int | None = 255,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The maths of :class:`PDDLoss`, without its loss weight: the loss and detached statistics.

    Example:
        >>> logits, label = torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long)
        >>> loss, stats = pdd_loss(logits, logits, label)  # s = t = 1/2, q = (3/4, 1/4)
        >>> round(loss.item(), 4), stats['s'].item()
        (0.0654, 0.5)
    """

    def terms(u_S: Tensor, u_T: Tensor, others: Tensor | None) -> Term:
        # s and 1 - s as logarithms, q = ((1 + t) / 2, (1 - t) / 2); and the derivative by u_S, where
        # d log s / du = 1 - s and d log(1 - s) / du = -s.
        log_s, log_not_s = F.logsigmoid(u_S), F.logsigmoid(-u_S)
        s, not_s, t = log_s.exp(), log_not_s.exp(), u_T.sigmoid()
        q1, log_q2 = (1 + t) / 2, F.logsigmoid(-u_T) - math.log(2)
        if direction == 'forward':  # alpha q1 log(q1 / s) + beta q2 log(q2 / (1 - s))
            q2 = log_q2.exp()
            value = alpha * q1 * (q1.log() - log_s) + beta * q2 * (log_q2 - log_not_s)
            slope = beta * q2 * s - alpha * q1 * not_s
        else:  # alpha s log(s / q1) + beta (1 - s) log((1 - s) / q2)
            log_q2 = log_q2.clamp(min=math.log(1e-6))  # the divergence has no bound as t nears 1
            target, rest = log_s - q1.log(), log_not_s - log_q2
            value = alpha * s * target + beta * not_s * rest
            slope = s * not_s * (alpha * (target + 1) - beta * (rest + 1))
        if others is not None:
            value = value + nckd_weight * others
        return Term(value, slope, nckd_weight, (s, t))

    grids = dict(tau=tau, resolution=resolution, ignore_index=ignore_index)
    kappa = 0.0 if nckd_weight else None
    loss, *stats = decoupled_loss(terms, logits_S, logits_T, label, **grids, kappa=kappa)
    return loss, dict(zip(('s', 't'), stats))


@MODELS.register_module()
class VLFDLoss(OptionLoss):
    r"""Visual-linguistic feature distillation: a global, a patch and a pooled ("linguistic") term.

    .. math:: L = w_g\, KL(P_T \| P_S) + w_p\, \mathrm{mean}(M_S - M_T)^2 + w_l\, KL(q_T \| q_S)

    - global: P is the softmax over channels at each position (:func:`~kd_methods.ops.logits.channel_kl`);
    - patch: M are the relations of all positions of the batch, on each process its own (:func:`patch_loss`);
    - linguistic: q is the softmax of one vector an image: of the student by global average pool and a learned
      1x1 convolution, of the teacher by a frozen pool.

    For the first two, a 1x1 convolution without bias brings the student's map to the teacher's channels, and
    bilinear interpolation to its grid.

    Zheng et al. arXiv 2310.07265. Terms and weights follow public code, where means over elements and a
    factor 1/(C-1) leave little of the terms (``reduction='element', gram_scale='channel'``). Our choices: the
    defaults ``'position'`` and ``'none'``, without these divisors, and ``pool='gap'``, since the weights of
    the published language pool are not available: a fixed random projection, with nothing linguistic in it.

    Args:
        student_channels (int): Channels of the student's map.
        teacher_channels (int): Channels of the teacher's map.
        global_weight (float): Weight of the global term. Defaults to 0.1.
        patch_weight (float): Weight of the patch term. Defaults to 0.1.
        linguistic_weight (float): Weight of the pooled term. Defaults to 0.5.
        reduction (str): Of both KL terms. ``'position'`` sums over channels, ``'element'`` takes the mean
            over them too. Defaults to 'position'.
        gram_scale (str): ``'none'``, or ``'channel'``: relations are divided by C - 1. Defaults to 'none'.
        pool (str, optional): The teacher's pool. ``'gap'``: global average pool and a fixed orthogonal
            projection; ``'attention'``: that of a CLIP ResNet, from ``pool_file``; None: no such term.
            Defaults to 'gap'.
        pool_file (str, optional): Checkpoint with the attention pool. Defaults to None.
        pool_channels (int, optional): Length of the pooled vector of ``'gap'``. Defaults to None: 512.
        pool_heads (int, optional): Heads of the attention pool. Defaults to None: one for 64 channels.
        pool_seed (int): Seed of the fixed projection. Defaults to 0.
        loss_weight (float): Factor of the whole. Defaults to 1.0.

    Attributes:
        stats (dict[str, Tensor]): Of the last forward, detached: the terms that are on, unweighted.

    Shape:
        - feat_S: (N, C_S, H, W); feat_T: (N, C_T, H', W'); output: scalar.

    Raises:
        FileNotFoundError: There is no ``pool_file``.
        ValueError: ``pool='attention'`` without a file, or with one that does not fit; an unknown option.

    Example:
        >>> loss = VLFDLoss(student_channels=8, teacher_channels=16)
        >>> loss(torch.randn(2, 8, 3, 3), torch.randn(2, 16, 6, 6)).backward()
        >>> sorted(loss.stats)
        ['global', 'linguistic', 'patch']
    """

    shown = ('weights', 'reduction', 'gram_scale')

    @checked
    def __init__(
        self,
        student_channels: Count,
        teacher_channels: Count,
        global_weight: NonNegative = 0.1,
        patch_weight: NonNegative = 0.1,
        linguistic_weight: NonNegative = 0.5,
        reduction: Reduction = 'position',
        gram_scale: GramScale = 'none',
        pool: Pool = 'gap',
        pool_file: str | PathLike | None = None,
        pool_channels: Count | None = None,
        pool_heads: Count | None = None,
        pool_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        linguistic = 0.0 if pool is None else linguistic_weight
        self.weights = {'global': global_weight, 'patch': patch_weight, 'linguistic': linguistic}
        if not any(self.weights.values()):
            self.loss_weight = 0.0  # a loss without any term is never run
        self.reduction, self.gram_scale = reduction, gram_scale
        self.adapter = nn.Conv2d(student_channels, teacher_channels, 1, bias=False)
        self.pool = build_pool(pool, teacher_channels, pool_file, pool_channels, pool_heads, pool_seed)
        if self.pool is not None:
            self.projection = nn.Linear(student_channels, self.pool.out_channels)

    def forward(self, feat_S: Tensor, feat_T: Tensor) -> Tensor:
        """Weighted sum of the terms, times the weight of the loss."""
        widths = self.adapter.in_channels, self.adapter.out_channels
        for name, x, channels in zip(('feat_S', 'feat_T'), (feat_S, feat_T), widths):
            if x.dim() != 4 or x.shape[1] != channels or len(x) != len(feat_S):
                got = f'feat_S {tuple(feat_S.shape)}, feat_T {tuple(feat_T.shape)}'
                form = f'N x {channels} x H x W, with one N for both'
                raise ValueError(f'VLFDLoss: {name} must be {form}. Got: {got}')
        feat_T = feat_T.detach()
        terms: dict[str, Tensor] = {}
        # The student's map in the teacher's channels and on its grid, (N, C_T, H', W').
        if self.weights['global'] or self.weights['patch']:
            adapted = resize_map(self._adapted(feat_S), feat_T.shape[2:])
        with without_autocast(feat_S):
            if self.weights['global']:
                terms['global'] = channel_kl.unchecked(adapted, feat_T, self.reduction)
            if self.weights['patch']:
                terms['patch'] = patch_loss.unchecked(adapted, feat_T, self.gram_scale)
            if self.weights['linguistic']:  # one vector an image, (N, pool_channels)
                weight, bias = map(full_precision, (self.projection.weight, self.projection.bias))
                pooled_S = F.linear(full_precision(feat_S).mean((2, 3)), weight, bias)
                pooled_T = self.pool(full_precision(feat_T))
                terms['linguistic'] = channel_kl.unchecked(pooled_S, pooled_T, self.reduction)
        self.stats = {name: term.detach() for name, term in terms.items()}
        return self.loss_weight * sum(self.weights[name] * term for name, term in terms.items())

    def _adapted(self, feat_S: Tensor) -> Tensor:
        """The adapter's 1x1 convolution as one product, (N, C_T, H, W), in full precision."""
        weight = self.adapter.weight.flatten(1)
        places = feat_S.transpose(0, 1)  # (C_S, N, H, W): all images side by side
        product = weight.to(feat_S.dtype) @ places.flatten(1)
        return full_precision(product).unflatten(1, places.shape[1:]).transpose(0, 1)


@MODELS.register_module()
class PDDLoss(OptionLoss, function=pdd_loss):
    r"""Pixel-wise decoupled distillation: label and teacher mixed, split into target and non-target.

    At a pixel with label y, with :math:`s = p^S_y`, :math:`t = p^T_y` and the mixed target
    :math:`q = ((1 + t) / 2, (1 - t) / 2)`:

    .. math:: \text{forward:} \quad \alpha\, q_1 \log \frac{q_1}{s} + \beta\, q_2 \log \frac{q_2}{1 - s}

    .. math:: \text{reverse:} \quad \alpha\, s \log \frac{s}{q_1} + \beta\, (1 - s) \log \frac{1 - s}{q_2}

    The loss is the mean over valid pixels. With :math:`\alpha = \beta = 1/2`, forward is
    :math:`CE/4 + BCE(t; s)/4 - H(q)/2`, and its derivative by the label's logit is :math:`(s - q_1) / 2`.

    Zheng et al. arXiv 2310.07265: label and teacher combined and split into target and non-target; the
    formula is a third party's account, read literally as reverse; alpha, beta and temperature follow public
    code. Our choices: forward as the default (the reverse gradient vanishes where the student is badly
    wrong), the floor of 1e-6 under q_2 in reverse, the non-target term, the factor tau^2, the resolution.

    Args:
        alpha (float): Weight of the target part. Defaults to 0.5.
        beta (float): Weight of the non-target part. Defaults to 0.5.
        direction (str): ``'forward'`` or ``'reverse'``. Defaults to 'forward'.
        tau (float): Temperature; the loss is multiplied by its square. Defaults to 1.0.
        nckd_weight (float): Weight of the KL divergence between the distributions over the other classes, as
            in decoupled knowledge distillation (Zhao et al. CVPR 2022, arXiv 2203.08679). Defaults to 0.0.
        resolution (str): ``'label'``: both logits are brought to the label's size, bilinearly; ``'logits'``:
            labels to the student's grid, nearest neighbour, which is cheaper. Defaults to 'label'.
        ignore_index (int, optional): Label to ignore besides those outside [0, K). Defaults to 255.
        loss_weight (float): Factor of the loss. Defaults to 1.0.

    Attributes:
        stats (dict[str, Tensor]): Of the last forward, detached: the means of ``s`` and ``t``.

    Shape:
        - logits_S: (N, K, H, W); logits_T: (N, K, H', W'). K = 1: the logit of a sigmoid.
        - label: (N, h, w) or (N, 1, h, w), integers; output: scalar.

    Example:
        >>> loss = PDDLoss()
        >>> logits = torch.randn(2, 5, 8, 8, requires_grad=True)
        >>> loss(logits, torch.randn(2, 5, 16, 16), torch.randint(0, 5, (2, 32, 32))).backward()
        >>> sorted(loss.stats)
        ['s', 't']
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not any(self.options[weight] for weight in ('alpha', 'beta', 'nckd_weight')):
            self.loss_weight = 0.0  # a loss without any part is never run

    def forward(self, logits_S: Tensor, logits_T: Tensor, label: Tensor) -> Tensor:
        """Loss of a batch, times its weight."""
        loss, self.stats = self.function(logits_S, logits_T, label, **self.options)
        return self.loss_weight * loss


@MODELS.register_module()
class C2VKDDistiller(MethodDistiller):
    """C2VKD: :class:`VLFDLoss` between two maps and :class:`PDDLoss` between the logits.

    The published setting has no other loss on the student (``calculate_student_loss=False`` of the algorithm)
    and ``vlfd=dict(reduction='element', gram_scale='channel')``; the defaults here are ours.

    Args:
        student_feature (str, optional): Tap of the student's map. Defaults to None: ``'backbone.-1'``.
        teacher_feature (str, optional): Tap of the teacher's map; the output of its ASPP
            (``'decode_head.bottleneck'``) is the other published one. Defaults to None: ``'backbone.-1'``.
        vlfd (dict, optional): Arguments of :class:`VLFDLoss`, with a number or ``'auto'`` as ``loss_weight``,
            and a ``schedule``. Channels are found by themselves. None: without it. Defaults to ``{}``.
        pdd (dict, optional): Likewise of :class:`PDDLoss`. Defaults to ``{}``.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Example:
        >>> distiller = dict(type='C2VKDDistiller', vlfd=dict(pool=None), pdd=dict(schedule=dict(warmup=500)))
    """

    def __init__(
        self,
        student_feature: str | None = None,
        teacher_feature: str | None = None,
        vlfd: Mapping | None = NO_CHANGES,
        pdd: Mapping | None = NO_CHANGES,
        init_cfg: dict | None = None,
        **unknown: Any,
    ) -> None:
        check_unknown(type(self), unknown)
        self.vlfd, self.pdd = parse_losses(type(self), vlfd=(vlfd, VLFDLoss), pdd=(pdd, PDDLoss))
        taps: dict[str, Any] = {}
        if self.vlfd is not None:
            pair = student_feature or LAST_STAGE, teacher_feature or LAST_STAGE
            taps['feature'] = dict(zip(('student', 'teacher'), pair))
        elif student_feature or teacher_feature:
            given = 'student_feature and teacher_feature are taps of VLFD'
            raise ValueError(f'distiller: {given}, but vlfd=None. Leave them out')
        logits = {} if self.pdd is None else dict(logits='logits')
        super().__init__(taps={**taps, **logits}, init_cfg=init_cfg)

    def configure(self, student: dict[str, Tap], teacher: dict[str, Tap]) -> None:
        if self.vlfd is not None:
            cfg = dict(self.vlfd)
            for side in ('student', 'teacher'):
                name = f'{side}_channels'
                cfg[name] = self.check_channels(f'vlfd.{name}', 'feature', side, cfg.get(name))
            maps = dict(feat_S=self.from_student('feature'), feat_T=self.from_teacher('feature'))
            add_parsed(self, 'loss_vlfd', VLFDLoss, cfg, **maps)
        if self.pdd is not None:
            maps = dict(logits_S=self.from_student('logits'), logits_T=self.from_teacher('logits'))
            add_parsed(self, 'loss_pdd', PDDLoss, self.pdd, **maps, label=dict(from_data='gt_sem_seg'))
