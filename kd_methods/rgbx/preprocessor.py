"""Normalisation of RGB and X, each by its own statistics."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from mmseg.models import SegDataPreProcessor
from torch import Tensor


@MODELS.register_module()
class RGBXDataPreProcessor(SegDataPreProcessor):
    """mmseg's preprocessor for images with X behind their three channels.

    At test, images of three channels are taken too, for networks without X; in training X must be there.
    Padding comes after normalisation, for X too: 0 there is X's mean.

    Args:
        mean, std (Sequence[float]): Of R, G, B.
        x_mean, x_std (Sequence[float]): Of each channel of X, in X's own unit.
        bgr_to_rgb (bool): The images are B, G, R as mmcv loads them; X keeps its order. Defaults to True.
        **kwargs: Further arguments of ``SegDataPreProcessor``.

    Raises:
        ValueError: The statistics do not fit together; a batch has another number of channels.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        x_mean: Sequence[float],
        x_std: Sequence[float],
        bgr_to_rgb: bool = True,
        **kwargs: Any,
    ) -> None:
        name = 'RGBXDataPreProcessor'
        if 'rgb_to_bgr' in kwargs:
            rule = 'images are brought to R, G, B with bgr_to_rgb=True, and left with False'
            raise ValueError(f'{name}: {rule}')
        super().__init__(**kwargs)
        if any(not isinstance(values, Sequence) for values in (mean, std, x_mean, x_std)):
            lists = 'mean, std, x_mean and x_std are lists, x_mean=[3.0]'
            raise TypeError(f'{name}: {lists}. Got: x_mean={x_mean!r}')
        if not (len(mean) == len(std) == 3 and len(x_mean) == len(x_std) >= 1):
            got = f'mean={mean}, std={std}, x_mean={x_mean}, x_std={x_std}'
            rule = 'mean and std have 3 entries, x_mean and x_std one for each channel of X'
            raise ValueError(f'{name}: {rule}. Got: {got}')
        if min(*std, *x_std) <= 0:
            raise ValueError(f'{name}: std={std} and x_std={x_std} must be above 0')
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer('mean', torch.tensor([*mean, *x_mean]).view(-1, 1, 1), False)
        self.register_buffer('std', torch.tensor([*std, *x_std]).view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise, pad and stack a batch; see mmseg's ``SegDataPreProcessor``."""
        data = self.cast_data(data)
        data = dict(data, inputs=[self._normalise(x, training) for x in data['inputs']])
        return super().forward(data, training)

    def _normalise(self, image: Tensor, training: bool) -> Tensor:
        channels, full = len(image), len(self.mean)
        if channels != full and (training or channels != 3):
            expected = f'expected {full}: R, G, B and {full - 3} of X (x_mean)'
            cure = 'In training X must be there: load it with LoadXFromFile and PackRGBXInputs'
            raise ValueError(f'RGBXDataPreProcessor: an image has {channels} channels, {expected}. {cure}')
        image = image.float()
        if self.bgr_to_rgb:
            image = torch.cat([image[:3].flip(0), image[3:]])
        return (image - self.mean[:channels]) / self.std[:channels]
