"""Losses that may leave out what is no image: ignored labels, or the padding of detection's images."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from kd_methods.methods.option_loss import OptionLoss
from kd_methods.ops.grids import pool_map, valid_area
from kd_methods.ops.labels import resize_labels
from kd_methods.utils.options import checked


class ValidOnlyLoss(OptionLoss):
    """Base of losses on maps with the option ``valid_only``: ignored labels, or padding, are left out."""

    shown = ('valid_only', 'ignore_index')

    @checked
    def __init__(
        self, *args: Any, valid_only: bool = False, ignore_index: int | None = 255, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.valid_only, self.ignore_index = valid_only, ignore_index

    def valid(self, label: Tensor | None, img_shape: Sequence | None, inputs: Tensor | None) -> Tensor | None:
        """Which pixels count, (N, h, w), by label, or else by the images' sizes before padding; None: all."""
        if not self.valid_only:
            return None
        if label is not None:
            label = resize_labels(label, tuple(label.shape[-2:]))
            return label >= 0 if self.ignore_index is None else (label >= 0) & (label != self.ignore_index)
        if img_shape is not None and inputs is not None:
            return valid_area(img_shape, inputs.shape[-2:], inputs).squeeze(1)
        label = "label=dict(from_data='gt_sem_seg')"
        shape = "img_shape=dict(from_data='img_shape') and inputs=dict(from_data='inputs')"
        why = f'valid_only=True needs to know what is valid. Map {label}, or {shape}'
        raise ValueError(f'{type(self).__name__}: {why}')


def valid_on(valid: Tensor | None, grid: Sequence[int]) -> Tensor | None:
    """Pixels that count (N, h, w), on a grid: (N, 1, *grid), nearest neighbour; None stays None."""
    return None if valid is None else resize_labels(valid.long(), tuple(grid)).bool().unsqueeze(1)


def pool_valid(x: Tensor, grid: tuple[int, int], valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Pool a map to a coarser grid without the places that do not count, and say which of the grid's count.

    A place of the grid counts if any place of the map that it is made of does. The others are zeros in its
    mean: the mean then has the direction of what counts, not its length.

    Shape:
        - x: (N, C, H, W); valid: (N, h, w); output: (N, C, *grid) and (N, 1, *grid), bool, or None.
    """
    if valid is None:
        return pool_map(x, grid), None
    counts = valid_on(valid, x.shape[2:])  # (N, 1, H, W); then the share of each cell that counts
    return pool_map(x.masked_fill(~counts, 0), grid), pool_map(counts.float(), grid) > 0
