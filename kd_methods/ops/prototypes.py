"""Class prototypes of a feature map, and distances between them."""

from typing import Any, Literal

import torch
from torch import Tensor

from kd_methods.ops.labels import fill_ignored, resize_labels
from kd_methods.ops.reductions import full_precision, without_autocast
from kd_methods.ops.vectors import check_feature, unit_vectors
from kd_methods.utils.options import Count, checked

Distance = Literal['euclidean', 'cosine']
Scope = Literal['image', 'batch']


@checked
def class_prototypes(
    feature: Tensor,
    label: Tensor,
    num_classes: Count,
    scope: Scope = 'image',
    min_pixels: Count = 1,
    ignore_index: int | None = 255,
) -> tuple[Tensor, Tensor]:
    r"""Mean feature vector of every class.

    .. math:: p_c = \sum_{xy} F(xy)\, [M(xy) = c] \,/\, \sum_{xy} [M(xy) = c]

    One pass over the pixels, whatever K is, in float32 (or float64). Ignored pixels have no influence and
    gradient 0, even where they hold nan.

    Args:
        feature (Tensor): Feature map F.
        label (Tensor): Integer labels M of any size, brought to the feature grid by nearest neighbour.
        num_classes (int): Number of classes K.
        scope (str): Average over each ``'image'`` or over the ``'batch'``. Defaults to 'image'.
        min_pixels (int): A class with fewer pixels on the feature grid counts as absent. Defaults to 1.
        ignore_index (int, optional): Label to ignore besides those outside [0, K). Defaults to 255.

    Shape:
        - feature: (N, C, H, W); label: (N, h, w) or (N, 1, h, w).
        - output: prototypes (N, K, C), zeros for an absent class, and whether the class is present (N, K),
          bool. N is 1 for ``scope='batch'``.

    Example:
        >>> feature, label = torch.tensor([[[[1., 3., 7., 9.]]]]), torch.tensor([[[0, 0, 2, 255]]])
        >>> prototypes, present = class_prototypes(feature, label, num_classes=3)
        >>> prototypes.squeeze().tolist(), present.tolist()
        ([2.0, 0.0, 7.0], [[True, False, True]])
    """
    check_feature(feature, label)
    n, c = feature.shape[:2]
    grid = resize_labels(label, feature.shape[2:])
    bins = fill_ignored(grid, num_classes, ignore_index)[0].flatten(1)
    pixels = full_precision(feature).flatten(2)  # (N, C, H W), and bins (N, H W)
    # Ignored pixels go to bin K, which is cut off: nothing they hold reaches sums or gradients.
    sums = pixels.new_zeros(n, c, num_classes + 1)
    sums = sums.scatter_add(2, bins.unsqueeze(1).expand(-1, c, -1), pixels)
    count = bins.new_zeros(n, num_classes + 1).scatter_add(1, bins, torch.ones_like(bins))
    sums, count = sums[..., :num_classes].transpose(1, 2), count[:, :num_classes]  # (N, K, C), (N, K)
    if scope == 'batch':
        sums, count = sums.sum(0, keepdim=True), count.sum(0, keepdim=True)
    present = count >= min_pixels
    mean = sums / count.clamp(min=1).unsqueeze(2)
    return mean.masked_fill(~present.unsqueeze(2), 0), present


class _PairwiseDistance(torch.autograd.Function):
    """By hand: the gradient at distance 0 is to be 0, and no I x J x C differences are to be held."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        # The matrix-product form |x|^2 - 2 x y + |y|^2 is not 0 at equality.
        dist = torch.cdist(x, y, compute_mode='donot_use_mm_for_euclid_dist')
        ctx.save_for_backward(x, y, dist)
        return dist

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y, dist = ctx.saved_tensors
        grad_x = grad_y = None
        with without_autocast(grad):
            # d/dx_i = sum_j w_ij (x_i - y_j) with w = grad / dist, (N, I, J); d/dy_j alike, with sum_i.
            zero = dist == 0
            w = (grad / dist.masked_fill(zero, 1)).masked_fill(zero, 0)
            if ctx.needs_input_grad[0]:
                grad_x = w.sum(2).unsqueeze(2) * x - w @ y
            if ctx.needs_input_grad[1]:
                grad_y = w.sum(1).unsqueeze(2) * y - w.transpose(1, 2) @ x
        return grad_x, grad_y


def pairwise_distance(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances, exactly 0 with gradient 0 where two vectors are equal; differences are not held.

    Shape:
        - x: (N, I, C); y: (N, J, C); output: (N, I, J).

    Example:
        >>> pairwise_distance(torch.tensor([[[0., 0.]]]), torch.tensor([[[3., 4.], [0., 0.]]]))
        tensor([[[5., 0.]]])
    """
    return _PairwiseDistance.apply(x, y)


@checked
def prototype_distances(
    proto_S: Tensor, proto_T: Tensor, distance: Distance = 'euclidean', normalize: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Distances between student and teacher prototypes, 0 with gradient 0 where two are equal.

    ``'cosine'`` is :math:`1 - \cos(a, b)` as :math:`|a/|a| - b/|b||^2 / 2`, which is exact at equality.

    Args:
        distance (str): ``'euclidean'`` (not squared) or ``'cosine'``. Defaults to 'euclidean'.
        normalize (bool): L2-normalise the prototypes first. Defaults to False.

    Shape:
        - proto_S, proto_T: (N, K, C).
        - output: d(S_c, T_c) (N, K); d(S_c, T_c') and d(T_c, T_c'), both (N, K, K).

    Example:
        >>> S, T = torch.tensor([[[0., 0.], [3., 4.]]]), torch.tensor([[[0., 0.], [3., 0.]]])
        >>> [d.tolist() for d in prototype_distances(S, T)]
        [[[0.0, 4.0]], [[[0.0, 3.0], [5.0, 4.0]]], [[[0.0, 3.0], [3.0, 0.0]]]]
    """
    if normalize or distance == 'cosine':
        proto_S, proto_T = unit_vectors(proto_S), unit_vectors(proto_T)
    # Positives grow small in training: from the differences their gradient keeps its direction.
    pos = torch.linalg.vector_norm(proto_S - proto_T, dim=-1)
    neg, inter = pairwise_distance(proto_S, proto_T), pairwise_distance(proto_T, proto_T)
    if distance == 'cosine':  # 1 - cos(a, b) = |a - b|^2 / 2 of unit vectors
        pos, neg, inter = pos.square() / 2, neg.square() / 2, inter.square() / 2
    return pos, neg, inter
