"""DMKD: the teacher's map rebuilt from a student's map of which attention hid places and channels.

Yang, Tang, Wu, Li, Xu, Wan. DMKD: improving feature-based knowledge distillation for object detection via
dual masking augmentation. arXiv 2309.02719; ICASSP 2024.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.levels import check_features, pair_levels
from kd_methods.distill.loss_config import add_parsed, check_unknown, parse_loss
from kd_methods.distill.loss_weights import split_auto_weight
from kd_methods.methods.option_loss import OptionLoss
from kd_methods.networks.probe import Probe
from kd_methods.networks.taps import Tap
from kd_methods.ops.grids import valid_area
from kd_methods.ops.reductions import full_precision, without_autocast
from kd_methods.ops.vectors import check_feature
from kd_methods.utils.options import Count, Positive, Share, checked

Over = Literal['spatial', 'channel']


@checked
def scores(feature: Tensor, over: Over = 'spatial') -> Tensor:
    """Mean magnitude of a map: at each place, over its channels, or of each channel, over its places.

    Shape:
        - feature: (N, C, H, W); output: (N, 1, H, W) or (N, C, 1, 1), without gradient, in float32.
    """
    magnitude = full_precision(feature.detach()).abs()
    return magnitude.mean(1, keepdim=True) if over == 'spatial' else magnitude.mean((2, 3), keepdim=True)


@checked
def attention(feature: Tensor, over: Over = 'spatial', tau: Positive = 0.5) -> Tensor:
    r"""How much each place, or each channel, of a map stands out; the mean is 1.

    .. math:: A_s = H W\, \mathrm{softmax}_{ij} (g_s / \tau), \qquad g_s(ij) = \mathrm{mean}_c |T|

    .. math:: A_c = C\, \mathrm{softmax}_c (g_c / \tau), \qquad g_c(c) = \mathrm{mean}_{ij} |T|

    Args:
        feature (Tensor): The map T.
        over (str): ``'spatial'`` or ``'channel'``. Defaults to 'spatial'.
        tau (float): Temperature; the larger, the more even. Defaults to 0.5.

    Shape:
        - feature: (N, C, H, W); output: (N, 1, H, W) or (N, C, 1, 1), without gradient, in float32.

    Example:
        >>> attention(torch.zeros(1, 4, 2, 2)).flatten().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    g = scores.unchecked(feature, over)
    return g.numel() / len(g) * (g / tau).flatten(1).softmax(1).view_as(g)


@checked
def attention_mask(
    feature: Tensor,
    over: Over = 'spatial',
    ratio: Share = 0.65,
    mask: Literal['important', 'unimportant', 'random'] = 'important',
    select: Literal['sample', 'top'] = 'sample',
    tau: Positive = 0.5,
) -> Tensor:
    """Which places, or channels, of each image stay: all but ``round(ratio * n)`` that attention selects.

    Args:
        feature (Tensor): The map that the attention is of.
        over (str): ``'spatial'`` or ``'channel'``. Defaults to 'spatial'.
        ratio (float): Share that is hidden, from 0 to 1. Defaults to 0.65.
        mask (str): What is hidden: ``'important'``, ``'unimportant'`` (as important by the negative scores)
            or ``'random'`` (all alike, whatever the map). Defaults to 'important'.
        select (str): ``'sample'`` draws without replacement, with probability proportional to the attention;
            ``'top'`` takes the largest, and tau has no effect then. Defaults to 'sample'.
        tau (float): Temperature of the attention. Towards 0, ``'sample'`` becomes ``'top'``; towards
            infinity, ``'random'``. Defaults to 0.5.

    Shape:
        - feature: (N, C, H, W); output: (N, 1, H, W) or (N, C, 1, 1), bool, False where hidden.

    Example:
        >>> feature = torch.tensor([3.0, 1.0, 2.0, 0.0]).view(1, 1, 2, 2)
        >>> attention_mask(feature, ratio=0.5, select='top').flatten().tolist()
        [False, True, False, True]
    """
    g = scores.unchecked(feature, over)
    # What is largest in `order`, (N, H W) or (N, C), is hidden.
    order = (-g if mask == 'unimportant' else g).flatten(1)
    if select == 'sample' or mask == 'random':
        # The k largest of log p + Gumbel noise are k draws without replacement with probability p (Yellott
        # 1977); log p is g / tau but for a constant. Either is scaled down, so that no tau overflows.
        noise = -torch.empty_like(order).exponential_().log()
        order = noise if mask == 'random' else order + tau * noise if tau < 1 else order / tau + noise
    hidden = order.topk(round(ratio * order.shape[1]), dim=1).indices
    return torch.ones_like(order, dtype=torch.bool).scatter_(1, hidden, False).view_as(g)


@MODELS.register_module()
class DMKDLoss(OptionLoss, function=attention_mask, without=('over', 'ratio'), loss_weight=2e-5):
    r"""Dual masking: the teacher's map, rebuilt from what two masks leave of the student's.

    Attention of the teacher's map T hides places and channels of the student's map S. Each of the two is
    rebuilt by a generation block G (3 x 3 convolution, ReLU, 3 x 3 convolution), mixed with learned weights:

    .. math:: R_s = G_s(align(S) \odot M_s), \qquad R_c = G_c(align(S) \odot M_c), \qquad
              (a_s, a_c) = softmax(w)

    .. math:: L = \frac{\alpha}{N} \lVert a_s R_s + a_c R_c - T \rVert_2^2

    summed over channels and places and divided by the number of images alone; :math:`\alpha` is
    ``loss_weight``. ``align`` is a 1 x 1 convolution where channels differ, else nothing. No label is used.

    Yang et al. arXiv 2309.02719: two branches, masks by attention, the fusion of what they rebuild. Attention
    as in FGD (Yang et al. CVPR 2022, arXiv 2111.11837), block, scale and ratio as in MGD (Yang et al. ECCV
    2022, arXiv 2205.01529). Our choices: how attention becomes a mask (:func:`attention_mask`; the paper's
    rule was not available to us), that important places are hidden, and the softmax of the fusion.
    ``branches='spatial', mask='random'`` is MGD.

    Args:
        student_channels (int): Channels of the student's map.
        teacher_channels (int): Channels of the teacher's.
        branches (str): ``'both'``, ``'spatial'`` or ``'channel'``. Defaults to 'both'.
        spatial_ratio (float): Share of places that is hidden. Two-stage detectors: 0.45. Defaults to 0.65.
        channel_ratio (float): Share of channels that is hidden. Two-stage detectors: 0.45. Defaults to 0.65.
        tau (float): Temperature of the attention. Defaults to 0.5.
        mask (str): ``'important'``, ``'unimportant'`` or ``'random'``, as of :func:`attention_mask`.
            Defaults to 'important'.
        select (str): ``'sample'`` or ``'top'``, likewise. Defaults to 'sample'.
        pad_aware (bool): Leave the padding of each image out of the error; the forward then needs
            ``img_shape`` and ``inputs``. Defaults to False.
        loss_weight (float): :math:`\alpha`. Two-stage detectors: 5e-7. Defaults to 2e-5.

    Attributes:
        fusion (nn.Parameter): w, of both branches; it should have no weight decay (``paramwise_cfg``).
        stats (dict[str, Tensor]): Of the last forward, detached: the share ``a_s`` of the spatial branch.

    Shape:
        - feat_S: (N, C_S, H, W); feat_T: (N, C_T, H, W); output: scalar.
        - inputs: (N, 3, H_in, W_in), for its size alone; img_shape: N pairs of height and width.

    Raises:
        TypeError: ``pad_aware`` is no bool.
        ValueError: The maps differ in size, or have other channels than expected; an unknown option.

    Example:
        >>> loss = DMKDLoss(student_channels=4, teacher_channels=8)
        >>> loss(torch.randn(2, 4, 6, 6), torch.randn(2, 8, 6, 6)).backward()
        >>> round(loss.stats['a_s'].item(), 2)
        0.5
    """

    shown = ('ratios', 'pad_aware')

    @checked
    def __init__(
        self,
        student_channels: Count,
        teacher_channels: Count,
        branches: Literal['both', 'spatial', 'channel'] = 'both',
        spatial_ratio: Share = 0.65,
        channel_ratio: Share = 0.65,
        pad_aware: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        ratios = dict(spatial=spatial_ratio, channel=channel_ratio)
        self.ratios = ratios if branches == 'both' else {branches: ratios[branches]}
        self.pad_aware, self.channels = pad_aware, (student_channels, teacher_channels)
        same = student_channels == teacher_channels
        self.align = nn.Identity() if same else nn.Conv2d(student_channels, teacher_channels, 1)
        self.generation = nn.ModuleDict({over: _generation(teacher_channels) for over in self.ratios})
        if len(self.ratios) > 1:
            self.fusion = nn.Parameter(torch.zeros(len(self.ratios)))

    def forward(
        self, feat_S: Tensor, feat_T: Tensor, img_shape: Sequence | None = None, inputs: Tensor | None = None
    ) -> Tensor:
        """Squared error of what is rebuilt, an image, times the weight."""
        feat_T = feat_T.detach()
        self._check_maps(feat_S, feat_T)
        # R of each branch, (N, C_T, H, W): G(align(S) * M).
        aligned = self.align(feat_S)
        rebuilt = []
        for over, ratio in self.ratios.items():
            kept = self.function(feat_T, over, ratio, **self.options)
            rebuilt.append(full_precision(self.generation[over](aligned.masked_fill(~kept, 0))))
        with without_autocast(feat_S):
            # a_s R_s + a_c R_c with (a_s, a_c) = softmax(w), less T.
            fused = rebuilt[0]
            if len(rebuilt) > 1:
                shares = full_precision(self.fusion).softmax(0)
                fused = shares[0] * rebuilt[0] + shares[1] * rebuilt[1]
                self.stats = dict(a_s=shares[0].detach())
            error = fused - full_precision(feat_T)
            if self.pad_aware:
                if img_shape is None or inputs is None:
                    cure = "Map them: img_shape=dict(from_data='img_shape'), inputs=dict(from_data='inputs')"
                    raise ValueError(f'DMKDLoss: pad_aware=True needs img_shape and inputs. {cure}')
                error = error.masked_fill(~valid_area(img_shape, inputs.shape[-2:], error), 0)
            # alpha / N of the squared norm, over the images alone.
            return self.loss_weight * error.square().sum() / len(error)

    def _check_maps(self, feat_S: Tensor, feat_T: Tensor) -> None:
        for name, x, channels in zip(('feat_S', 'feat_T'), (feat_S, feat_T), self.channels):
            check_feature(x, feat_S, name)
            if x.shape[1] != channels:
                has = f'{x.shape[1]} channels, expected {channels}. Got: {tuple(x.shape)}'
                raise ValueError(f'DMKDLoss: {name} has {has}')
        if feat_S.shape[2:] != feat_T.shape[2:]:
            got = f'feat_S {tuple(feat_S.shape)}, feat_T {tuple(feat_T.shape)}'
            raise ValueError(f'DMKDLoss: the maps must be of one size: tap levels of one stride. Got: {got}')


def _generation(channels: int) -> nn.Sequential:
    first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
    return nn.Sequential(first, nn.ReLU(inplace=True), second)


@MODELS.register_module()
class DMKDDistiller(MethodDistiller):
    """DMKD between the levels of two necks: one :class:`DMKDLoss` a level, each with the same weight.

    Channels are found by themselves; sizes must agree. The exported student has nothing of it.

    Args:
        features (Sequence[str], optional): Taps of both networks. Defaults to None: every level that the
            necks return. For two-stage detectors ``'neck.0'`` to ``'neck.3'``: the last repeats the one
            before.
        student_features (Sequence[str], optional): Taps of the student where they differ. Defaults to None.
        teacher_features (Sequence[str], optional): Taps of the teacher where they differ. Defaults to None.
        loss_weight (float | str | dict): Weight of each level's loss, or ``'auto'`` for all together.
            Defaults to 2e-5.
        schedule (dict, optional): The losses over the iterations, see
            :class:`~kd_methods.distill.loss_weights.LossSchedule`. Defaults to None.
        init_cfg (dict, optional): Initialisation. Defaults to None.
        **options: Options of :class:`DMKDLoss`, except its channels.

    Example:
        >>> two_stage = dict(loss_weight=5e-7, spatial_ratio=0.45, channel_ratio=0.45)
        >>> features = ['neck.0', 'neck.1', 'neck.2', 'neck.3']
        >>> distiller = dict(type='DMKDDistiller', features=features, **two_stage)
    """

    def __init__(
        self,
        features: Sequence[str] | None = None,
        student_features: Sequence[str] | None = None,
        teacher_features: Sequence[str] | None = None,
        loss_weight: float | str | dict = 2e-5,
        schedule: dict | None = None,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        check_unknown(type(self), options, DMKDLoss, without=('student_channels', 'teacher_channels'))
        cfg = dict(options, loss_weight=loss_weight, schedule=schedule)
        self.options = parse_loss('distiller', cfg, DMKDLoss)
        given = dict(features=features, student_features=student_features, teacher_features=teacher_features)
        check_features('distiller', **given)
        super().__init__(init_cfg=init_cfg)
        self.features = dict(student=student_features or features, teacher=teacher_features or features)

    def prepare(self, student: Probe, teacher: Probe, key: str = 'distiller') -> None:
        self.taps = pair_levels(student, teacher, self.features, 'neck', key)
        super().prepare(student, teacher, key)

    def configure(self, student: dict[str, Tap], teacher: dict[str, Tap]) -> None:
        if any(student[name].shape[2:] != teacher[name].shape[2:] for name in student):
            cure = 'Name levels of equal strides with student_features and teacher_features'
            what = f'the levels must be of one size. Tap shapes: {self.describe_taps()}. {cure}'
            raise ValueError(f'distiller.features: {what}')
        weight = split_auto_weight(self.options['loss_weight'], len(student), 'distiller.loss_weight')
        batch = ('img_shape', 'inputs') if self.options.get('pad_aware') else ()
        for i, tap in enumerate(student):
            channels = dict(student_channels=student[tap].channels, teacher_channels=teacher[tap].channels)
            cfg = dict(self.options, **channels, loss_weight=weight)
            maps = dict(feat_S=self.from_student(tap), feat_T=self.from_teacher(tap))
            maps.update({name: dict(from_data=name) for name in batch})
            add_parsed(self, f'loss_dmkd_{i}', DMKDLoss, cfg, **maps)
