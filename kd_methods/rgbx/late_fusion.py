"""Decode head over two branches, of RGB and of X."""

import copy
from typing import Literal

import torch
from mmengine.registry import MODELS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from kd_methods.utils.options import checked

#: Arguments that both heads get, and those that the whole takes from the head on RGB.
BOTH = ('num_classes', 'out_channels', 'align_corners')
OF_RGB = (*BOTH, 'threshold', 'channels', 'dropout_ratio', 'norm_cfg')
OF_RGB += ('ignore_index', 'sampler', 'loss_decode', 'init_cfg')


@MODELS.register_module()
class LateFusionHead(BaseDecodeHead):
    """Two decode heads, on the stages of RGB and of X, combined right before or behind the classifier.

    For a segmentor whose backbone is ``DuplexEncoder(fusion=None)``. With ``at='features'`` the maps before
    the two heads' classifiers are fused, and one classifier (this head's ``conv_seg``) follows; with
    ``'logits'`` each has its classifier and the logits are averaged.

    Args:
        rgb (dict): Config of the head on RGB: any head of mmseg that ends in ``cls_seg``.
        x (dict, optional): Config of the head on X. Defaults to None: the one of ``rgb``.
        at (str): ``'features'`` or ``'logits'``. Defaults to 'features'.
        fusion (str): Of the features: ``'sum'``, or ``'concat'`` and a 1 x 1 convolution. Defaults to 'sum'.
        **kwargs: Arguments of ``BaseDecodeHead``, by default as in ``rgb``. ``num_classes``, ``out_channels``
            and ``align_corners`` go to both heads.

    Raises:
        ValueError: The two heads do not fit together.
    """

    @checked
    def __init__(
        self,
        rgb: dict,
        x: dict | None = None,
        at: Literal['features', 'logits'] = 'features',
        fusion: Literal['sum', 'concat'] = 'sum',
        **kwargs,
    ) -> None:
        heads = [copy.deepcopy(cfg) for cfg in (rgb, rgb if x is None else x)]
        given = {**{name: rgb[name] for name in OF_RGB if name in rgb}, **kwargs}
        for head in heads:
            head.update({name: given[name] for name in BOTH if name in given})
        super().__init__(**{**given, 'in_channels': given['channels'], 'in_index': 0})
        self.rgb, self.x = (MODELS.build(head) for head in heads)
        channels = [head.channels for head in (self.rgb, self.x)]
        self.at = at
        self.fuse: nn.Module | None = None
        if at == 'logits':
            self.conv_seg = nn.Identity()  # the tap 'logits' finds the average here
            return
        if fusion == 'sum' and len({*channels, self.channels}) > 1:
            got = f'channels of rgb {channels[0]}, of x {channels[1]}, of the whole {self.channels}'
            lack = "fusion='sum' needs heads of one width"
            raise ValueError(f"LateFusionHead: {lack}. Got: {got}. Set fusion='concat'")
        if fusion == 'concat':
            self.fuse = nn.Conv2d(sum(channels), self.channels, 1)
        for head in (self.rgb, self.x):  # `cls_seg` then gives the map that the classifier would have got
            head.dropout, head.conv_seg = None, nn.Identity()

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Logits from the stages of RGB, followed by as many of X."""
        half, odd = divmod(len(inputs), 2)
        if odd:
            got = f'expected the stages of RGB and as many of X. Got: {len(inputs)} maps'
            raise ValueError(f'LateFusionHead: {got}. Set backbone.fusion=None of DuplexEncoder, and no neck')
        rgb, x = self.rgb(inputs[:half]), self.x(inputs[half:])  # logits, or the features before conv_seg
        if self.at == 'logits':
            return self.conv_seg((rgb + x) / 2)
        return self.cls_seg(rgb + x if self.fuse is None else self.fuse(torch.cat([rgb, x], 1)))
