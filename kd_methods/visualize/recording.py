"""Reading taps from a network that runs on one image."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from kd_methods.distill.channels import ChannelLayout
from kd_methods.networks.recording import CallRecorder, Place
from kd_methods.networks.taps import Tap
from kd_methods.visualize.geometry import Geometry


@dataclass
class Column:
    """A network, and how an image becomes its input.

    Attributes:
        title (str): Heading of its column.
        network (BaseModel): In eval mode.
        preprocessor (nn.Module): Its own preprocessor.
        side (str): ``'student'`` or ``'teacher'``: which tap of a pair it is read at, and which channels it
            sees.
        layout (ChannelLayout | None): Channels of the images; None: it sees all. Defaults to None.
    """

    title: str
    network: BaseModel
    preprocessor: nn.Module
    side: str = 'student'
    layout: ChannelLayout | None = None

    def prepare(self, batch: dict) -> dict:
        """A raw batch as this network gets it; the batch stays as it is."""
        data = copy.deepcopy(batch)
        if self.layout is not None:
            data['inputs'] = self.layout.select(data['inputs'], self.side, given=True)
        return self.preprocessor(data, False)


@dataclass
class FeatureMap:
    """What a tap recorded.

    Attributes:
        data (Tensor): (1, C, h, w), float32, on the CPU, padding included.
        geometry (Geometry): Where its places lie in the image.
    """

    data: Tensor
    geometry: Geometry

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in places, padding included."""
        return tuple(self.data.shape[-2:])

    def inside(self) -> Tensor:
        """The map without places that see padding alone."""
        rows, columns = self.geometry.kept(self.size)
        return self.data[..., :rows, :columns]


def read_taps(
    column: Column, batch: dict, taps: Sequence[Tap | None], image: tuple[int, int]
) -> list[FeatureMap | None]:
    """Run a network on one image and read its taps. The run ends at the last of them.

    Args:
        column (Column): The network.
        batch (dict): One raw image with its data sample, as a dataloader collates it.
        taps (Sequence[Tap | None]): Taps of this network; None stands for a row without one.
        image (tuple[int, int]): Height and width of the image file in pixels.

    Returns:
        list[FeatureMap | None]: One a tap.

    Raises:
        ValueError: A tap recorded no map.
    """
    data = column.prepare(batch)
    padded = tuple(data['inputs'].shape[-2:])
    geometry = Geometry.of(data['data_samples'][0], image, padded)
    records = record(
        column.network, data['inputs'], data['data_samples'], [tap for tap in taps if tap is not None]
    )
    return [
        None
        if tap is None
        else FeatureMap(_as_map(records[tap], padded, f'{tap.name!r} of the {column.title}'), geometry)
        for tap in taps
    ]


def record(network: BaseModel, inputs: Tensor, samples: list | None, taps: Sequence[Tap]) -> dict[Tap, Any]:
    """What a network's modules got or returned at some taps, in a forward without gradients that ends at the
    last of them. What a later layer does in place does not change it.

    Raises:
        ValueError: The network never came to a tap.
    """
    calls: dict[Place, set[int]] = {}
    for tap in taps:
        calls.setdefault(tap.place, set()).add(tap.record_idx)
    recorder = CallRecorder(network, calls, type(network).__name__, stop=True, clone=calls)
    try:
        with torch.no_grad(), recorder as records:
            network.eval()(inputs, samples, mode='tensor')
    finally:
        recorder.remove()
    return {tap: tap.read(records) for tap in taps}


def _as_map(data: Tensor, padded: tuple[int, int], what: str) -> Tensor:
    """A record as (1, C, h, w); tokens (1, L, C) are laid out in the image's form."""
    if data.dim() == 3:
        height = round((data.shape[1] * padded[0] / padded[1]) ** 0.5) or 1
        if data.shape[1] % height:
            raise ValueError(
                f'--taps: {what} has {data.shape[1]} tokens, which are no grid of the form of its input, '
                f'{padded[0]} x {padded[1]} pixels. Take a tap that is a map.'
            )
        data = data.transpose(1, 2).unflatten(2, (height, -1))
    if data.dim() != 4:
        raise ValueError(f'--taps: {what} is {tuple(data.shape)} on this image, no map N x C x H x W.')
    return data.float().cpu()
