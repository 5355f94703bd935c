"""Batch norm folded into the convolution before it: a frozen network permits what a trained one does not."""

from collections import Counter
from collections.abc import Collection, Iterator

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kd_methods.networks.recording import INPUTS, OUTPUTS, Place


def fold_batch_norm(network: nn.Module, kept: Collection[Place] = ()) -> int:
    r"""Compute batch norms with the convolutions before them.

    .. math:: \gamma \frac{W x + b - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta = W' x + b'

    Weights, and so the network's state, stay as they are: W' and b' are kept beside them. The batch norm
    passes on what it gets, so module paths, hooks and taps stay. Pairs are those of mmcv's ``ConvModule``, of
    blocks and stems with ``conv1`` and ``norm1`` (ResNet and its kin), and neighbours in ``nn.Sequential``.

    Args:
        network (nn.Module): In eval mode, without gradients.
        kept (Collection[Place]): Places between a convolution and its batch norm that are read: these stay.

    Returns:
        int: How many were folded.
    """
    names = {module: name for name, module in network.named_modules()}
    pairs, count = {pair for pair in _pairs(network) if _foldable(*pair)}, 0
    met = Counter(id(module) for pair in pairs for module in pair)
    for conv, norm in pairs:
        between = {(OUTPUTS, names[conv]), (INPUTS, names[norm])}
        shared = met[id(conv)] > 1 or met[id(norm)] > 1  # a convolution of several levels, each with its norm
        if shared or not between.isdisjoint(kept):
            continue
        conv.forward = _FoldedForward(conv, norm)
        norm.forward = _pass_on
        count += 1
    return count


class _FoldedForward:
    """The forward of a convolution with a batch norm behind it."""

    def __init__(self, conv: nn.Conv2d, norm: nn.Module) -> None:
        self.conv, self.norm = conv, norm
        self.fold()

    def fold(self) -> None:
        """Compute W' and b' of the weights as they are."""
        conv, norm = self.conv, self.norm
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = 0 if conv.bias is None else conv.bias
        # (C_out, C_in / groups, h, w), in the layout of the weights
        self.weight = (conv.weight * scale.view(-1, 1, 1, 1)).detach()
        self.bias = ((bias - norm.running_mean) * scale + norm.bias).detach()

    def __call__(self, x: Tensor) -> Tensor:
        given = self.conv.weight
        if self.weight.device != given.device or self.weight.dtype != given.dtype:
            self.fold()  # the network was moved
        return self.conv._conv_forward(x, self.weight, self.bias)  # torch's, of all padding modes


def refold(network: nn.Module) -> None:
    """Follow new weights in a network that may be folded."""
    for module in network.modules():
        if isinstance(module.forward, _FoldedForward):
            module.forward.fold()


def _pass_on(x: Tensor) -> Tensor:
    return x


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """A convolution, and the only layer that reads it."""
    for module in network.modules():
        if isinstance(module, ConvModule):
            if module.with_norm and tuple(module.order) == ('conv', 'norm', 'act'):
                yield module.conv, module.norm
        elif isinstance(module, nn.Sequential):
            yield from zip(list(module), list(module)[1:])
        else:
            for i in ('1', '2', '3'):
                conv, norm = getattr(module, f'conv{i}', None), getattr(module, f'norm{i}', None)
                if isinstance(conv, nn.Module) and isinstance(norm, nn.Module):
                    yield conv, norm


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    return (
        type(conv) is nn.Conv2d
        and isinstance(norm, _BatchNorm)
        and not norm.training
        and norm.affine
        and norm.running_mean is not None
        and norm.forward is not _pass_on
        and norm.num_features == conv.out_channels
        and 'forward' not in vars(conv)
    )
