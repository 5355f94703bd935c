"""Two encoders, of RGB and of X, as one backbone."""

import copy
from contextlib import ExitStack
from typing import Literal

import torch
from mmengine.model import BaseModule, ModuleList
from mmengine.registry import MODELS
from torch import Tensor, nn

from kd_methods.networks.probe import eval_mode
from kd_methods.utils.options import checked


@MODELS.register_module()
class DuplexEncoder(BaseModule):
    """A backbone of RGB and one of X, fused at every stage (intermediate fusion) or not at all (late fusion).

    It takes the place of a backbone in any segmentor of mmseg. Its outputs are the fused stages, in the
    shapes of the RGB backbone's; with ``fusion=None`` the stages of RGB followed by those of X, for
    :class:`LateFusionHead`.

    With ``feed='encoder'`` the RGB encoder continues with the fused map, the pattern of SNE-RoadSeg (Fan et
    al. ECCV 2020); with ``'head'`` both encoders run by themselves and only the decode head sees the sum.

    X of one channel is shown to all channels of its encoder's stem. That stem therefore has three channels,
    and weights trained on images load as they are; the sum of the three filters acts on the one channel.

    Args:
        rgb (dict): Config of the RGB backbone; ``out_indices`` says which stages are fused.
        x (dict, optional): Config of the backbone of X. Defaults to None: the one of ``rgb``.
        x_channels (int): Channels of X: 1, or as many as the stem of ``x`` takes. Defaults to 1.
        fusion (str, optional): ``'sum'``; ``'concat'``, followed by a 1 x 1 convolution to the RGB stage's
            channels; or None. Defaults to 'sum'.
        feed (str): ``'encoder'``, for backbones that name their stages (ResNet and its kin, MiT), or
            ``'head'``, for any that takes an image of 64 x 64. Defaults to 'encoder'.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Attributes:
        input_channels (int): Channels of the input, 3 + ``x_channels``.

    Shape:
        - input: (N, 3 + x_channels, H, W); outputs: as of ``rgb``, or twice as many without fusion.

    Raises:
        ValueError: The two backbones do not fit together, or the input has another number of channels.
    """

    @checked
    def __init__(
        self,
        rgb: dict,
        x: dict | None = None,
        x_channels: int = 1,
        fusion: Literal['sum', 'concat'] | None = 'sum',
        feed: Literal['encoder', 'head'] = 'encoder',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.rgb = MODELS.build(copy.deepcopy(rgb))
        self.x = MODELS.build(copy.deepcopy(rgb if x is None else x))
        self.fusion, self.x_channels = fusion, x_channels
        self.input_channels = 3 + x_channels
        stem = next(m.in_channels for m in self.x.modules() if isinstance(m, nn.Conv2d))
        if x_channels not in (1, stem):
            given, cure = f'x_channels={x_channels}', f'Set x.in_channels={x_channels}'
            raise ValueError(f'DuplexEncoder: {given}, but the stem of x takes {stem}. {cure}')
        self.stem_channels = stem
        if fusion is None:
            return
        shapes = [_output_shapes(net, channels) for net, channels in ((self.rgb, 3), (self.x, stem))]
        if [s[2:] for s in shapes[0]] != [s[2:] for s in shapes[1]]:
            stages = f'the stages of rgb {shapes[0]} and of x {shapes[1]} have different sizes'
            raise ValueError(f'DuplexEncoder: {stages}. Give both the same strides and out_indices')
        if fusion == 'sum' and shapes[0] != shapes[1]:
            got = f"Got: rgb {shapes[0]}, x {shapes[1]}. Set fusion='concat'"
            raise ValueError(f"DuplexEncoder: fusion='sum' needs stages of one shape. {got}")
        if fusion == 'concat':
            self.fuse = ModuleList(nn.Conv2d(a[1] + b[1], a[1], 1) for a, b in zip(*shapes))
        self.stages = _stage_modules(self.rgb, len(shapes[0])) if feed == 'encoder' else None

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The fused stages; see the class."""
        if inputs.shape[1] != self.input_channels:
            expected = f'{self.input_channels} channels, R, G, B and {self.x_channels} of X'
            cure = 'Load X with LoadXFromFile and PackRGBXInputs'
            raise ValueError(f'DuplexEncoder: expected {expected}. Got: {tuple(inputs.shape)}. {cure}')
        rgb, x = inputs[:, :3], inputs[:, 3:]  # N x 3 x H x W, N x (1 or stem channels) x H x W
        stages_x = tuple(self.x(x.expand(-1, self.stem_channels, -1, -1)))
        if self.fusion is None:
            return (*self.rgb(rgb), *stages_x)
        if self.stages is None:
            return tuple(self._fuse(i, a, b) for i, (a, b) in enumerate(zip(self.rgb(rgb), stages_x)))
        # fuse at the end of each stage, so that the next one starts from the fused map
        with ExitStack() as hooks:
            for i, path in enumerate(self.stages):
                stage = self.rgb.get_submodule(path)
                hook = stage.register_forward_hook(lambda _, args, out, i=i: self._fuse(i, out, stages_x[i]))
                hooks.callback(hook.remove)
            return tuple(self.rgb(rgb))

    def _fuse(self, i: int, rgb: Tensor, x: Tensor) -> Tensor:
        """Put a stage of X (a map) into one of RGB: a map, or tokens N x HW x C inside a transformer."""
        tokens = rgb.dim() == 3
        if tokens:  # to N x C x H x W and, below, back
            rgb = rgb.transpose(1, 2).unflatten(2, x.shape[2:])
        fused = rgb + x if self.fusion == 'sum' else self.fuse[i](torch.cat([rgb, x], 1))
        return fused.flatten(2).transpose(1, 2) if tokens else fused


def _stage_modules(backbone: nn.Module, outputs: int) -> list[str]:
    """Paths of the modules whose outputs are the stages, on which the next stage builds."""
    if hasattr(backbone, 'res_layers'):  # ResNet, ResNeXt, ResNeSt, ...
        paths = list(backbone.res_layers)
    elif type(backbone).__name__ == 'MixVisionTransformer':
        paths = [f'layers.{i}.2' for i in range(len(backbone.layers))]  # the norm behind each stage's blocks
    else:
        why = 'does not name its stages, so it cannot continue with the fused map'
        raise ValueError(f"DuplexEncoder: {type(backbone).__name__} {why}. Set feed='head'")
    if len(paths) != outputs:
        why = f"feed='encoder' fuses at every stage, but out_indices gives {outputs} of {len(paths)}"
        cure = f"Set rgb.out_indices={tuple(range(len(paths)))}, or feed='head'"
        raise ValueError(f'DuplexEncoder: {why}. {cure}')
    return paths


def _output_shapes(backbone: nn.Module, channels: int) -> list[tuple[int, ...]]:
    """Shapes of a backbone's outputs on a small image; its batch statistics stay as they are."""
    try:
        with eval_mode(backbone), torch.no_grad():
            return [tuple(out.shape) for out in backbone(torch.zeros(1, channels, 64, 64))]
    except (RuntimeError, AssertionError) as error:
        image = f'an image of {channels} x 64 x 64, on which the shapes of its stages are found'
        name = type(backbone).__name__
        raise ValueError(f'DuplexEncoder: {name} does not take {image}: {error}') from error
