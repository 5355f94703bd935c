"""I2CKD: intra- and inter-class knowledge distillation on class prototypes.

Karine, Napoleon, Jridi. Intra- and inter-class knowledge distillation for semantic segmentation.
arXiv 2403.18490; Neurocomputing 649 (2025) 130791.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.loss_config import add_parsed, check_unknown, parse_loss
from kd_methods.methods.logit_kd import add_logit_kd, parse_logit_kd
from kd_methods.methods.option_loss import OptionLoss
from kd_methods.networks.taps import Tap
from kd_methods.ops.labels import fill_ignored, resize_labels
from kd_methods.ops.prototypes import Distance, Scope, class_prototypes, prototype_distances
from kd_methods.ops.reductions import full_precision, masked_median, mean_over_images, without_autocast
from kd_methods.ops.vectors import check_feature
from kd_methods.utils.options import Count, NonNegative, checked

Negatives = Literal['all', 'hardest', 'random']


def _class_pairs(present: Tensor) -> Tensor:
    """Ordered pairs of two different present classes: (N, K) -> (N, K, K), bool."""
    other = ~torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    return present.unsqueeze(2) & present.unsqueeze(1) & other


@checked
def triplet_loss(
    d_pos: Tensor, d_neg: Tensor, present: Tensor, margin: NonNegative = 1.0, negatives: Negatives = 'all'
) -> tuple[Tensor, Tensor]:
    r"""Mean of :math:`\max(0, d_{pos}(c) - d_{neg}(c, c') + m)` over triplets, then over images.

    Args:
        d_pos (Tensor): Distance of each class's student prototype to its teacher prototype.
        d_neg (Tensor): Distance of each student prototype (rows) to each teacher prototype.
        present (Tensor): Which classes are present.
        margin (float): Margin m. Defaults to 1.0.
        negatives (str): ``'all'`` other present classes, the ``'hardest'`` (nearest) of each anchor, or one
            at ``'random'`` (torch's global generator). Defaults to 'all'.

    Shape:
        - d_pos, present: (N, K); d_neg: (N, K, K).
        - output: two scalars, the loss and the fraction of triplets above 0. An image with fewer than two
          classes has no triplet; both are 0 if there is none at all.

    Example:
        >>> d_pos, d_neg = torch.tensor([[0., 4.]]), torch.tensor([[[0., 3.], [5., 4.]]])
        >>> loss, active = triplet_loss(d_pos, d_neg, torch.ones(1, 2, dtype=bool), margin=2.0)
        >>> loss.item(), active.item()  # hinges: 0 - 3 + 2 < 0, and 4 - 5 + 2 = 1
        (0.5, 0.5)
    """
    pairs = _class_pairs(present)  # (N, K, K): anchors, other classes
    if negatives != 'all':  # one other class for each anchor, the least of `order`: (N, K, 1)
        order = d_neg if negatives == 'hardest' else -torch.rand_like(d_neg)
        chosen = order.masked_fill(~pairs, float('inf')).argmin(2, keepdim=True)
        d_neg, pairs = d_neg.gather(2, chosen), pairs.any(2, keepdim=True)
    # l(c, c') = max(0, d_pos - d_neg + m) of each triplet, of the shape of `pairs`.
    hinge = F.relu(d_pos.unsqueeze(2) - d_neg + margin)
    active = (hinge.detach() > 0).to(hinge.dtype)
    return mean_over_images(hinge, pairs), mean_over_images(active, pairs)


def _project(x: Tensor, weight: Tensor) -> Tensor:
    """Bias-free 1x1 convolution of a map (N, C, H, W); the same function of vectors (N, K, C)."""
    weight = weight.to(x.dtype)
    return F.linear(x, weight) if x.dim() == 3 else F.conv2d(x, weight[:, :, None, None])


@checked
def i2ckd_loss(
    feat_S: Tensor,
    feat_T: Tensor,
    label: Tensor,
    num_classes: Count,
    weight: Tensor | None = None,
    distance: Distance = 'euclidean',
    unit: Literal['teacher', 'absolute'] = 'teacher',
    margin: NonNegative = 1.0,
    normalize: bool = False,
    negatives: Negatives = 'all',
    scope: Scope = 'image',
    min_pixels: Count = 1,
    project: Literal['prototypes', 'map'] = 'prototypes',
    ignore_index: int | None = 255,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The maths of :class:`I2CKDLoss`, without its loss weight: the loss and detached statistics.

    Args:
        weight (Tensor, optional): Projection to the teacher's channels, (C_T, C_S). Defaults to None.

    Example:
        >>> feature, label = torch.randn(2, 8, 16, 16), torch.randint(0, 3, (2, 64, 64))
        >>> loss, stats = i2ckd_loss(feature, feature, label, 3, unit='absolute', margin=0.0)
        >>> loss.item(), stats['d_pos'].item()
        (0.0, 0.0)
    """
    check_feature(feat_S, label, 'feat_S')
    check_feature(feat_T, label, 'feat_T')
    fits = (feat_T.shape[1], feat_S.shape[1])  # the shape of a weight between them
    if (fits[0] != fits[1]) if weight is None else (fits != tuple(weight.shape)):
        had = 'no projection' if weight is None else 'a projection {1} -> {0}'.format(*weight.shape)
        has = f'{fits[1]} channels and feat_T has {fits[0]}, with {had}'
        cure = f'Set student_channels={fits[1]}, teacher_channels={fits[0]}'
        raise ValueError(f'I2CKDLoss: feat_S has {has}. {cure}')
    pool = dict(scope=scope, min_pixels=min_pixels, ignore_index=ignore_index)
    prototypes = class_prototypes.unchecked  # p, (N, K, C), and which classes are present, (N, K)
    with without_autocast(feat_S):
        proto_T, present_T = prototypes(feat_T.detach(), label, num_classes, **pool)
        feat_S = full_precision(feat_S)
        if weight is not None and project == 'map':
            # A nan at an ignored pixel would come back in the weight's gradient, as nan * 0.
            grid = resize_labels(label, feat_S.shape[2:])
            valid = fill_ignored(grid, num_classes, ignore_index)[1]
            feat_S = _project(feat_S.masked_fill(~valid.unsqueeze(1), 0), weight)
        proto_S, present_S = prototypes(feat_S, label, num_classes, **pool)
        if weight is not None and project == 'prototypes':
            proto_S = _project(proto_S, weight)
        # d(S_c, T_c), (N, K), then d(S_c, T_c') and d(T_c, T_c'), (N, K, K).
        present, proto_T = present_S & present_T, proto_T.to(proto_S.dtype)
        distances = prototype_distances.unchecked(proto_S, proto_T, distance, normalize)
        d_pos, d_neg, inter = distances
        pairs, stats = _class_pairs(present), {}
        if unit == 'teacher':
            median = masked_median(inter, pairs)
            # Without any pair, or with a teacher that does not tell the classes apart, there is no unit.
            stats['unit'] = median = torch.where(median > 0, median, 1)
            d_pos, d_neg, inter = (d / median for d in distances)
        loss, stats['active'] = triplet_loss.unchecked(d_pos, d_neg, present, margin, negatives)
        stats['d_pos'] = mean_over_images(d_pos.detach(), pairs.any(2))
        stats['D'] = mean_over_images(inter, pairs)
    return loss, stats


@MODELS.register_module()
class I2CKDLoss(OptionLoss, function=i2ckd_loss):
    r"""Triplet loss between the class prototypes of student and teacher.

    A class's prototype is the mean of a feature map over its ground-truth pixels. The student's prototype is
    the anchor, the teacher's of the same class the positive, those of the other classes the negatives:

    .. math:: l(c, c') = \max(0, d(p^S_c, p^T_c) - d(p^S_c, p^T_{c'}) + m)

    The loss is the mean of l over ordered pairs of present classes, then over the images with at least two.

    Karine, Napoleon, Jridi. arXiv 2403.18490; Neurocomputing 649 (2025) 130791. Our choices, not to be read
    as the authors' settings: prototypes per image, the Euclidean distance, its unit, the margin, the mean
    over all pairs, the projection, and every default below.

    Args:
        num_classes (int, optional): Number of classes K; the distiller finds it. Defaults to None.
        student_channels (int, optional): Channels of the student's map. Defaults to None.
        teacher_channels (int, optional): Channels of the teacher's map. Where they differ from the student's,
            a 1x1 convolution without bias to them is learned. Defaults to None.
        distance (str): ``'euclidean'`` (not squared) or ``'cosine'``. Defaults to 'euclidean'.
        unit (str): ``'teacher'`` divides distances by the median distance between the teacher's prototypes in
            the batch: margin and loss do not depend on the scale of the maps. ``'absolute'`` leaves them: a
            margin well below the teacher's distances soon ends the pull. Defaults to 'teacher'.
        margin (float): Margin m, in that unit. Defaults to 1.0.
        normalize (bool): L2-normalise the prototypes; margins of 0.2-0.5 suit that. Defaults to False.
        negatives (str): ``'all'`` other present classes, the ``'hardest'`` (the teacher's prototype nearest
            to the anchor) or one at ``'random'``. Defaults to 'all'.
        scope (str): Prototypes of each ``'image'`` or the ``'batch'`` (of this process). Defaults to 'image'.
        min_pixels (int): A class with fewer pixels on the feature grid is skipped. Defaults to 1.
        project (str): Project ``'prototypes'`` or, the same at more cost, the ``'map'``. Defaults to
            'prototypes'.
        ignore_index (int, optional): Label to ignore besides those outside [0, K). Defaults to 255.
        loss_weight (float): Factor of the loss. Defaults to 1.0.

    Attributes:
        stats (dict[str, Tensor]): Of the last forward, detached. ``active``: fraction of triplets above 0;
            ``d_pos``: mean distance of a class's two prototypes; ``D``: mean distance of the teacher's
            prototypes of two classes, both in the margin's unit; and that ``unit``.

    Shape:
        - feat_S: (N, C_S, H, W); feat_T: (N, C_T, H', W'), each on its own grid.
        - label: (N, h, w) or (N, 1, h, w), integers, of any size; output: scalar.

    Example:
        >>> loss = I2CKDLoss(num_classes=4, student_channels=8, teacher_channels=16)
        >>> feat_S, feat_T = torch.randn(2, 8, 12, 12), torch.randn(2, 16, 12, 12)
        >>> loss(feat_S, feat_T, torch.randint(0, 4, (2, 1, 96, 96))).backward()
        >>> loss.projection.weight.grad.shape, sorted(loss.stats)
        (torch.Size([16, 8]), ['D', 'active', 'd_pos', 'unit'])
    """

    shown = ('num_classes',)

    @checked
    def __init__(
        self,
        num_classes: Count | None = None,
        student_channels: Count | None = None,
        teacher_channels: Count | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if (student_channels is None) != (teacher_channels is None):
            got = f'student_channels={student_channels}, teacher_channels={teacher_channels}'
            raise ValueError(f'I2CKDLoss: student_channels and teacher_channels go together. Got: {got}')
        self.num_classes = num_classes
        same = student_channels == teacher_channels
        self.projection = None if same else nn.Linear(student_channels, teacher_channels, bias=False)

    def forward(self, feat_S: Tensor, feat_T: Tensor, label: Tensor) -> Tensor:
        """Loss of a batch, times its weight."""
        if self.num_classes is None:
            raise ValueError('I2CKDLoss: num_classes is not set. Give it, e.g. num_classes=19')
        weight = None if self.projection is None else self.projection.weight
        loss, self.stats = self.function(feat_S, feat_T, label, self.num_classes, weight, **self.options)
        return self.loss_weight * loss


@MODELS.register_module()
class I2CKDDistiller(MethodDistiller):
    """I2CKD between one map of the student and one of the teacher; see :class:`I2CKDLoss`.

    The number of classes and both maps' channels come from the networks.

    Args:
        feature (str): Tap of both networks. Defaults to 'features': the decode head's map before dropout and
            classifier, as in the work that the method builds on.
        student_feature (str, optional): Tap of the student where it differs. Defaults to None.
        teacher_feature (str, optional): Tap of the teacher where it differs. Defaults to None.
        logit_kd (float | str | dict, optional): Weight of an additional logit KD (KL divergence per pixel), a
            number or ``'auto'``, or ``dict(loss_weight=1.0, tau=1.0, schedule=None)``. Defaults to None: off.
        loss_weight (float | str | dict): Weight of the loss, a number or ``'auto'``. Defaults to 1.0.
        schedule (dict, optional): The loss over the iterations, see
            :class:`~kd_methods.distill.loss_weights.LossSchedule`. Defaults to None.
        init_cfg (dict, optional): Initialisation. Defaults to None.
        **options: Options of :class:`I2CKDLoss`; those for channels are only checked.

    Example:
        >>> distiller = dict(type='I2CKDDistiller', margin=1.0, loss_weight='auto', schedule=dict(warmup=500))
    """

    def __init__(
        self,
        feature: str = 'features',
        student_feature: str | None = None,
        teacher_feature: str | None = None,
        logit_kd: float | str | dict | None = None,
        loss_weight: float | str | dict = 1.0,
        schedule: dict | None = None,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        check_unknown(type(self), options, I2CKDLoss)
        cfg = dict(options, loss_weight=loss_weight, schedule=schedule)
        self.options = parse_loss('distiller', cfg, I2CKDLoss)
        taps = dict(feature=dict(student=student_feature or feature, teacher=teacher_feature or feature))
        self.logit_kd = parse_logit_kd(logit_kd)
        logits = dict(logits='logits') if self.logit_kd else {}
        super().__init__(taps={**taps, **logits}, init_cfg=init_cfg)

    def configure(self, student: dict[str, Tap], teacher: dict[str, Tap]) -> None:
        given = self.options.get('num_classes')
        cfg = dict(self.options, num_classes=self.num_classes() if given is None else given)
        for side in ('student', 'teacher'):
            name = f'{side}_channels'
            cfg[name] = self.check_channels(name, 'feature', side, cfg.get(name))
        maps = dict(feat_S=self.from_student('feature'), feat_T=self.from_teacher('feature'))
        add_parsed(self, 'loss_i2ckd', I2CKDLoss, cfg, **maps, label=dict(from_data='gt_sem_seg'))
        if self.logit_kd:
            add_logit_kd(self, self.logit_kd)
