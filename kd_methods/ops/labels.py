"""Ground-truth label maps on a feature grid, and which of their pixels count."""

import torch
from torch import Tensor


def resize_labels(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring integer label maps to a feature grid, nearest neighbour.

    Cell ``i`` of ``h`` takes pixel ``floor(i * H / h)``, as ``F.interpolate(mode='nearest')`` does: the
    centre of a convolution of stride ``H / h`` with the usual padding. No label passes through floating
    point.

    Shape:
        - label: (N, H, W) or (N, 1, H, W), as mmseg stacks ``gt_sem_seg``, of any integer type.
        - output: (N, *size), int64.

    Example:
        >>> rows = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 255, 255], [2, 2, 255, 255]])
        >>> resize_labels(rows[None], (2, 2)).tolist()
        [[[0, 1], [2, 255]]]
    """
    if not isinstance(label, Tensor):
        form = 'an integer tensor N x H x W or N x 1 x H x W'
        raise TypeError(f'label must be {form}. Got: {type(label).__name__}')
    if label.is_floating_point() or label.is_complex() or label.dtype == torch.bool:
        raise TypeError(f'label must hold integers (class numbers). Got: {label.dtype}; use label.long()')
    if label.dim() == 4 and label.shape[1] == 1:
        label = label[:, 0]
    if label.dim() != 3:
        raise ValueError(f'label must be N x H x W or N x 1 x H x W. Got: {tuple(label.shape)}')
    for dim, cells in ((1, size[0]), (2, size[1])):
        pixels = label.shape[dim]
        if pixels != cells:
            # Cell i takes pixel floor(i * pixels / cells).
            index = torch.arange(cells, device=label.device) * pixels // cells
            label = label.index_select(dim, index)
    return label.long()


def not_ignored(label: Tensor | None, size: tuple[int, int], ignore_index: int | None) -> Tensor | None:
    """Places of a grid whose label is not the ignored one, (N, *size); None where all count.

    Example:
        >>> not_ignored(torch.tensor([[[0, 0, 255, 255], [0, 0, 255, 255]]]), (1, 2), 255).tolist()
        [[[True, False]]]
    """
    if label is None or ignore_index is None:
        return None
    return resize_labels(label, tuple(size)) != ignore_index


def valid_mask(label: Tensor, num_classes: int, ignore_index: int | None = 255) -> Tensor:
    """True where a label is a class: in ``[0, num_classes)`` and not ``ignore_index``.

    Args:
        label (Tensor): Integer labels of any shape.
        num_classes (int): Number of classes K.
        ignore_index (int, optional): One more label to leave out, also in ``[0, K)``. Defaults to 255.

    Example:
        >>> valid_mask(torch.tensor([0, 1, 2, -1, 255]), 2).tolist()
        [True, True, False, False, False]
    """
    valid = (label >= 0) & (label < num_classes)
    return valid if ignore_index is None else valid & (label != ignore_index)


def fill_ignored(
    label: Tensor, num_classes: int, ignore_index: int | None = 255, fill: int | None = None
) -> tuple[Tensor, Tensor]:
    """Labels that are safe to gather, scatter or one-hot with, and which of them count.

    Args:
        label (Tensor): Integer labels of any shape.
        num_classes (int): Number of classes K.
        ignore_index (int, optional): See :func:`valid_mask`. Defaults to 255.
        fill (int, optional): What an ignored pixel becomes. None: K, one more bin, which is dropped
            afterwards; 0: for a gather over K entries whose result is masked. Defaults to None.

    Returns:
        tuple[Tensor, Tensor]: int64 labels and a bool mask, both of the shape of ``label``.

    Example:
        >>> label, valid = fill_ignored(torch.tensor([0, 1, -1, 255]), 2)
        >>> label.tolist(), valid.tolist()
        ([0, 1, 2, 2], [True, True, False, False])
    """
    # Widened first: 255 in int8 labels, or K in uint8 ones, has no value to compare with or fill.
    label = label.long()
    valid = valid_mask(label, num_classes, ignore_index)
    return label.masked_fill(~valid, num_classes if fill is None else fill), valid
