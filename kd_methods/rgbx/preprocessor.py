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

    Images of three channels are taken at test, for networks that do without X; in training X must be there.
    Padding comes after normalisation, for X too: 0 there is X's mean.

    Args:
        mean (Sequence[float]): Of R, G, B.
        std (Sequence[float]): Of R, G, B.
        x_mean (Sequence[float]): Of each channel of X, in X's own unit.
        x_std (Sequence[float]): Of each channel of X.
        bgr_to_rgb (bool): Whether the images are B, G, R as mmcv loads them; X is as it is. Defaults to True.
        **kwargs: Further ones of ``SegDataPreProcessor``.

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
        if 'rgb_to_bgr' in kwargs:
            raise ValueError(
                'RGBXDataPreProcessor: images are brought to R, G, B with bgr_to_rgb=True, and left with '
                'False'
            )
        super().__init__(**kwargs)
        if any(not isinstance(values, Sequence) for values in (mean, std, x_mean, x_std)):
            raise TypeError(
                'RGBXDataPreProcessor: mean, std, x_mean and x_std are lists, x_mean=[3.0]. Got: '
                f'x_mean={x_mean!r}'
            )
        if not (len(mean) == len(std) == 3 and len(x_mean) == len(x_std) >= 1):
            raise ValueError(
                'RGBXDataPreProcessor: mean and std have 3 entries, x_mean and x_std one for each channel '
                f'of X. Got: mean={mean}, std={std}, x_mean={x_mean}, x_std={x_std}'
            )
        if min(*std, *x_std) <= 0:
            raise ValueError(f'RGBXDataPreProcessor: std={std} and x_std={x_std} must be above 0')
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer('mean', torch.tensor([*mean, *x_mean]).view(-1, 1, 1), False)
        self.register_buffer('std', torch.tensor([*std, *x_std]).view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise, pad and stack a batch; see mmseg's ``SegDataPreProcessor``."""
        data = self.cast_data(data)
        return super().forward(
            dict(data, inputs=[self._normalise(x, training) for x in data['inputs']]), training
        )

    def _normalise(self, image: Tensor, training: bool) -> Tensor:
        channels, full = len(image), len(self.mean)
        if channels != full and (training or channels != 3):
            raise ValueError(
                f'RGBXDataPreProcessor: an image has {channels} channels, expected {full}: R, G, B and '
                f'{full - 3} of X (x_mean)'
                + (
                    '. In training X must be there: load it with LoadXFromFile and PackRGBXInputs'
                    if channels == 3
                    else ''
                )
            )
        image = image.float()
        if self.bgr_to_rgb:
            image = torch.cat([image[:3].flip(0), image[3:]])
        return (image - self.mean[:channels]) / self.std[:channels]
