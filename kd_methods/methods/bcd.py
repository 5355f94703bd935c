"""BCD: complementary boundary and context distillation, from hierarchical backbone maps.

Zhang, Dong, Chen, Cheng. Complementary boundary and context distillation for efficient dense image
prediction. arXiv 2401.13174; TMLR (2026).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.labels import COUNTED
from kd_methods.distill.levels import check_features, pair_levels
from kd_methods.distill.loss_config import NO_CHANGES, add_parsed, check_unknown, parse_losses
from kd_methods.methods.valid_only import ValidOnlyLoss, pool_valid, valid_on
from kd_methods.networks.probe import Probe
from kd_methods.networks.taps import Tap
from kd_methods.ops.boundaries import Boundary, fuse_boundaries, neighbour_distances, reduce_distances
from kd_methods.ops.gram import gram_distance
from kd_methods.ops.grids import common_grid
from kd_methods.ops.reductions import full_precision, valid_mean
from kd_methods.ops.relations import relation_kl
from kd_methods.ops.vectors import check_feature, unit_vectors
from kd_methods.utils.options import Bounds, NonNegative, Positive, checked


@checked
def boundary_loss(
    feats_S: Sequence[Tensor],
    feats_T: Sequence[Tensor],
    boundary: Boundary = 'affinity',
    pair_weight: NonNegative = 0.0,
    gamma: NonNegative = 1.0,
    valid: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The maths of :class:`BoundaryDistillLoss`, without its loss weight: the loss and detached statistics.

    Args:
        valid (Tensor, optional): Which pixels count, (N, h, w) of any size, bool. Defaults to None: all.

    Example:
        >>> feature = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(1, 2, 1, 3)
        >>> loss, stats = boundary_loss([feature], [torch.ones(1, 4, 1, 3)])
        >>> round(loss.item(), 4)  # boundaries (0, 1/2, 1/2) against zeros
        0.1667
        >>> round(stats['b_S'].item(), 4), stats['b_T'].item()
        (0.3333, 0.0)
    """
    if not feats_S or len(feats_S) != len(feats_T):
        got = f'one or more. Got: {len(feats_S)}, {len(feats_T)}'
        raise ValueError(f'BoundaryDistillLoss: give as many maps of the student as of the teacher, {got}')
    maps: tuple[list, list] = ([], [])
    counted, pair_terms = [], []
    for level, pair in enumerate(zip(feats_S, feats_T)):
        *pair, counts = _on_one_grid(f'BoundaryDistillLoss: feat_{{}}_{level}', *pair, valid)
        # d_ij to the eight neighbours and which of these count, (N, 8, h, w); then b^l, (N, 1, h, w).
        (d_S, near), (d_T, _) = (neighbour_distances(x, counts) for x in pair)
        for kind, d in zip(maps, (d_S, d_T)):
            kind.append(reduce_distances.unchecked(d, near, boundary))
        counted.append(counts)
        if pair_weight:  # mean_i (1 + gamma b_T) mean_j (s_T - s_S)^2, where s = 1 - d
            error = (d_T - d_S).square().sum(1, keepdim=True) / near.sum(1, keepdim=True).clamp(min=1)
            pair_terms.append(valid_mean((1 + gamma * maps[1][-1]) * error, counts))
    # B, (N, 1, H, W), on the finest grid among the levels.
    b_S, b_T = (fuse_boundaries(kind, valid=None if valid is None else counted) for kind in maps)
    counts = valid_on(valid, b_S.shape[2:])
    loss = valid_mean((b_T - b_S).square(), counts)
    if pair_terms:
        loss = loss + pair_weight * sum(pair_terms) / len(pair_terms)
    return loss, dict(b_S=valid_mean(b_S.detach(), counts), b_T=valid_mean(b_T, counts))


@checked
def context_loss(
    feat_S: Tensor,
    feat_T: Tensor,
    tokens: Annotated[int, Bounds(2)] | None = 2048,
    relation: Literal['softmax', 'gram'] = 'softmax',
    tau: Positive = 0.1,
    valid: Tensor | None = None,
) -> Tensor:
    """The maths of :class:`ContextDistillLoss`, which explains the arguments, without its loss weight.

    Args:
        valid (Tensor, optional): Which pixels count, (N, h, w) of any size, bool. Defaults to None: all.

    Example:
        >>> feature = torch.randn(2, 8, 6, 6)
        >>> context_loss(feature, feature).item()
        0.0
    """
    *pair, counts = _on_one_grid('ContextDistillLoss: feat_{}', feat_S, feat_T, valid, tokens)
    grid = pair[0].shape[2:]
    if grid[0] * grid[1] < 2:
        got = f'feat_S {tuple(feat_S.shape)}, feat_T {tuple(feat_T.shape)}'
        why = f'the maps share a single place, with no other to relate to. Tap an earlier stage. Got: {got}'
        raise ValueError(f'ContextDistillLoss: {why}')
    counts = None if counts is None else counts.flatten(1)
    x_S, x_T = (x.flatten(2).mT for x in pair)  # (N, n, C)
    if relation == 'softmax':
        return relation_kl.unchecked(x_S, x_T, tau, counts)
    return _cosine_distance(x_S, x_T, counts)


def _cosine_distance(x_S: Tensor, x_T: Tensor, valid: Tensor | None) -> Tensor:
    """Mean squared difference of two matrices of cosines, over the pairs that count, then over images."""
    n = x_S.shape[1]
    count = torch.full_like(x_S[:, 0, 0], n) if valid is None else valid.sum(1).to(x_S.dtype)
    if valid is not None:  # the cosines of a zero vector are 0 in both
        x_S, x_T = (x.masked_fill(~valid.unsqueeze(2), 0) for x in (x_S, x_T))
    width = max(x_S.shape[2], x_T.shape[2])  # more channels that are 0 change no product
    phi_S, phi_T = (F.pad(unit_vectors(x), (0, width - x.shape[2])) for x in (x_S, x_T))
    # |Phi_S Phi_S' - Phi_T Phi_T'|^2 of each image, (N,), by the number of its pairs.
    total = torch.stack([gram_distance(s, t) for s, t in zip(phi_S, phi_T)])
    return (total / count.clamp(min=1).square()).sum() / (count > 0).sum().clamp(min=1)


def _on_one_grid(
    names: str, feat_S: Tensor, feat_T: Tensor, valid: Tensor | None, most: int | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Both maps on one grid, in full precision, the teacher's without gradient, and which places count."""
    for side, x in (('S', feat_S), ('T', feat_T)):
        name = names.format(side)
        if isinstance(x, Tensor) and x.dim() == 3:
            why = 'tokens N x L x C do not say where they lie. Tap a place that returns maps.'
            raise ValueError(f'{name} must be a map N x C x H x W; {why} Got: {tuple(x.shape)}')
        check_feature(x, feat_S, name)
    grid = common_grid(feat_S.shape[2:], feat_T.shape[2:], most)
    x_S, seen_S = pool_valid(full_precision(feat_S), grid, valid)
    x_T, seen_T = pool_valid(full_precision(feat_T.detach()), grid, valid)
    return x_S, x_T, None if valid is None else seen_S & seen_T


@MODELS.register_module()
class BoundaryDistillLoss(ValidOnlyLoss, function=boundary_loss, loss_weight=10.0):
    r"""Boundary distillation: boundaries in the hierarchical maps of a backbone, teacher's against student's.

    At each level l both maps are pooled to the coarser of their two grids. With unit vectors
    :math:`n_i = F_i / \lVert F_i \rVert` and the eight neighbours :math:`\Omega(i)`

    .. math:: d_{ij} = \lVert n_i - n_j \rVert^2 / 4, \qquad s_{ij} = 1 - d_{ij}, \qquad
              b_i = \max_{j \in \Omega(i)} d_{ij}, \qquad B = \mathrm{mean}_l\; \mathrm{resize}(b^l)

    .. math:: L_B = \mathrm{mean}_i (B_{T,i} - B_{S,i})^2 + w\; \mathrm{mean}_l\, \mathrm{mean}_i\,
              (1 + \gamma\, b^l_{T,i})\, \mathrm{mean}_{j} (s^l_{T,ij} - s^l_{S,ij})^2

    on the finest grid among the levels. No parameter, adapter or label: the widths need not agree.

    Zhang et al. arXiv 2401.13174: boundaries from the hierarchical maps of the backbone, without annotation.
    A third party's account: through the semantic affinity of pixel pairs. Its equations were not available to
    us: operators, distances and weights are ours. Neighbours outside of the image do not count.

    Args:
        boundary (str): ``'affinity'`` as above, or ``'mean'``: the mean of d over the neighbours instead of
            the maximum. Defaults to 'affinity'.
        pair_weight (float): w of the term of single pairs; 0: without it and gamma. Defaults to 0.0.
        gamma (float): :math:`\gamma`, how much more pairs at the teacher's boundaries count. Defaults to 1.0.
        valid_only (bool): Leave ignored labels, or the padding of images, out of neighbours and mean; the
            forward then needs ``label``, or ``img_shape`` and ``inputs``. Defaults to False.
        ignore_index (int, optional): Label to ignore then, besides negative ones. Defaults to 255.
        loss_weight (float): Factor of the loss, the paper's alpha. Defaults to 10.0.

    Attributes:
        stats (dict[str, Tensor]): Of the last forward, detached: means of ``b_S`` and ``b_T``.

    Shape:
        - feat_S_0, feat_T_0, feat_S_1, ...: (N, C, H, W), one pair a level; sizes and channels may differ.
        - label: (N, h, w) or (N, 1, h, w), integers; inputs: (N, 3, H_in, W_in), for its size alone.
        - output: scalar.

    Raises:
        TypeError: ``valid_only`` is no bool; a level is no tensor.
        ValueError: A level is missing on one side, or is no map; an unknown option.

    Example:
        >>> loss, feature = BoundaryDistillLoss(), torch.randn(2, 4, 8, 8, requires_grad=True)
        >>> loss(feat_S_0=feature, feat_T_0=torch.randn(2, 16, 8, 8)).backward()
        >>> sorted(loss.stats)
        ['b_S', 'b_T']
    """

    def forward(
        self,
        label: Tensor | None = None,
        img_shape: Sequence | None = None,
        inputs: Tensor | None = None,
        **levels: Tensor,
    ) -> Tensor:
        """Loss of a batch, times its weight."""
        count = len(levels) // 2
        names = [[f'feat_{side}_{i}' for i in range(count)] for side in 'ST']
        if not count or {*levels} != {*names[0], *names[1]}:
            pairs = 'feat_S_0, feat_T_0, feat_S_1, feat_T_1, ...'
            raise ValueError(f'BoundaryDistillLoss: give pairs of maps {pairs} Got: {sorted(levels)}')
        feats = ([levels[name] for name in side] for side in names)
        loss, self.stats = self.function(*feats, **self.options, valid=self.valid(label, img_shape, inputs))
        return self.loss_weight * loss


@MODELS.register_module()
class ContextDistillLoss(ValidOnlyLoss, function=context_loss):
    r"""Context distillation: relations between all places of a map, teacher's against student's.

    Both maps are pooled to the coarser of their grids: n unit vectors :math:`\varphi_i` for each image,

    .. math:: R = \mathrm{softmax}_{rows} (\langle \varphi_i, \varphi_j \rangle / \tau), \qquad
              L_C = \frac1n \sum_i KL(R_{T,i} \| R_{S,i})

    averaged over images. R is n x n whatever the channels, so there is no adapter.

    Zhang et al. arXiv 2401.13174: context by self-relations. Its equations were not available to us; tap and
    temperature are ours.

    Args:
        tokens (int, optional): Most places of the grid; finer maps are pooled. None: every place, in memory
            that goes with n and time that goes with its square
            (:func:`~kd_methods.ops.relations.relation_kl`). Defaults to 2048.
        relation (str): ``'softmax'``, or ``'gram'``: mean squared difference of cosines. Defaults to
            'softmax'.
        tau (float): Temperature of ``'softmax'``; no effect on ``'gram'``. Defaults to 0.1.
        valid_only (bool): Leave ignored labels, or the padding of images, out of rows and columns; the
            forward then needs ``label``, or ``img_shape`` and ``inputs``. Defaults to False.
        ignore_index (int, optional): Label to ignore then, besides negative ones. Defaults to 255.
        loss_weight (float): Factor of the loss, the paper's beta. Defaults to 1.0.

    Shape:
        - feat_S: (N, C_S, H, W); feat_T: (N, C_T, H', W').
        - label, img_shape, inputs: as for :class:`BoundaryDistillLoss`; output: scalar.

    Raises:
        TypeError: ``valid_only`` is no bool, a map no tensor.
        ValueError: The maps share a single place; an unknown option.

    Example:
        >>> loss = ContextDistillLoss(tokens=None)
        >>> loss(torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(2, 16, 16, 16)).backward()
    """

    def forward(
        self,
        feat_S: Tensor,
        feat_T: Tensor,
        label: Tensor | None = None,
        img_shape: Sequence | None = None,
        inputs: Tensor | None = None,
    ) -> Tensor:
        """Loss of a batch, times its weight."""
        valid = self.valid(label, img_shape, inputs)
        return self.loss_weight * self.function(feat_S, feat_T, **self.options, valid=valid)


@MODELS.register_module()
class BCDDistiller(MethodDistiller):
    """BCD: boundaries between all maps of two backbones, context between their last ones.

    For segmentors and detectors, CNNs and transformers of any widths. The exported student has nothing of it.

    Args:
        features (str | Sequence[str], optional): Taps of the boundaries, in both networks. Defaults to None:
            every map that the backbones return.
        student_features (str | Sequence[str], optional): The student's where they differ. Defaults to None.
        teacher_features (str | Sequence[str], optional): The teacher's where they differ. Defaults to None.
        context_features (str | dict, optional): Tap of the context, or ``dict(student=..., teacher=...)``.
            Defaults to None: ``'backbone.-1'``, the last map.
        boundary (dict, optional): Arguments of :class:`BoundaryDistillLoss`, with a number or ``'auto'`` as
            ``loss_weight``, and a ``schedule``. None: without it. Defaults to {}.
        context (dict, optional): Likewise of :class:`ContextDistillLoss`. Defaults to {}.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Example:
        >>> context = dict(loss_weight='auto', tokens=1024)
        >>> distiller = dict(type='BCDDistiller', boundary=dict(loss_weight=10.0), context=context)
    """

    def __init__(
        self,
        features: str | Sequence[str] | None = None,
        student_features: str | Sequence[str] | None = None,
        teacher_features: str | Sequence[str] | None = None,
        context_features: str | Mapping | None = None,
        boundary: Mapping | None = NO_CHANGES,
        context: Mapping | None = NO_CHANGES,
        init_cfg: dict | None = None,
        **unknown: Any,
    ) -> None:
        check_unknown(type(self), unknown)
        given = dict(features=features, student_features=student_features, teacher_features=teacher_features)
        check_features('distiller', **given)
        losses = dict(boundary=(boundary, BoundaryDistillLoss), context=(context, ContextDistillLoss))
        self.boundary, self.context = parse_losses(type(self), **losses)
        if self.boundary is None and any(given.values()):
            cure = 'Leave them out; the tap of the context is context_features'
            raise ValueError(f'distiller: features are taps of the boundaries, but boundary=None. {cure}')
        if self.context is None and context_features is not None:
            why = 'is the tap of the context, but context=None. Leave it out'
            raise ValueError(f'distiller: context_features {why}')
        tap = 'backbone.-1' if context_features is None else context_features
        taps = {} if self.context is None else dict(context=tap)
        super().__init__(taps=taps, init_cfg=init_cfg)
        self.features = dict(student=student_features or features, teacher=teacher_features or features)

    def prepare(self, student: Probe, teacher: Probe, key: str = 'distiller') -> None:
        if self.boundary is not None:
            self.taps = {**pair_levels(student, teacher, self.features, 'backbone', key), **self.taps}
        super().prepare(student, teacher, key)

    def configure(self, student: dict[str, Tap], teacher: dict[str, Tap]) -> None:
        if self.boundary is not None:
            maps = {}
            for i, tap in enumerate(tap for tap in student if tap != 'context'):
                maps[f'feat_S_{i}'], maps[f'feat_T_{i}'] = self.from_student(tap), self.from_teacher(tap)
            maps.update(self._valid(self.boundary))
            add_parsed(self, 'loss_boundary', BoundaryDistillLoss, self.boundary, **maps)
        if self.context is not None:
            maps = dict(feat_S=self.from_student('context'), feat_T=self.from_teacher('context'))
            maps.update(self._valid(self.context))
            add_parsed(self, 'loss_context', ContextDistillLoss, self.context, **maps)

    def _valid(self, cfg: Mapping) -> dict[str, dict]:
        """Mapping of what tells a loss with ``valid_only`` which pixels count."""
        if not cfg.get('valid_only'):
            return {}
        segmentor = hasattr(self.student_network, 'decode_head')
        batch = dict(label=COUNTED) if segmentor else dict(img_shape='img_shape', inputs='inputs')
        return {argument: dict(from_data=source) for argument, source in batch.items()}
