"""Reading taps from a network that runs on one image."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from kd_methods.distill.channels import ChannelLayout
from kd_methods.networks.probe import plain_forward
from kd_methods.networks.recording import CallRecorder, Place
from kd_methods.networks.taps import Tap
from kd_methods.visualize.geometry import Geometry


@dataclass
class Column:
    """A network, and how an image becomes its input."""

    title: str
    network: BaseModel
    preprocessor: nn.Module
    side: str = 'student'  # or 'teacher': which tap of a pair it is read at, and which channels it sees
    layout: ChannelLayout | None = None  # channels of the images; None: it sees all

    def prepare(self, batch: dict) -> dict:
        """A raw batch as this network gets it; the batch stays as it is."""
        data = copy.deepcopy(batch)
        if self.layout is not None:
            data['inputs'] = self.layout.select(data['inputs'], self.side, given=True)
        return self.preprocessor(data, False)


@dataclass
class FeatureMap:
    """What a tap recorded."""

    data: Tensor  # 1 x C x h x w, float32, on the CPU, padding included
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
    """Run a network on one raw image, in a batch, and read its taps. The run ends at the last of them.

    A tap of None is a row without one; ``image`` is height and width of the image file.
    """
    data = column.prepare(batch)
    padded = tuple(data['inputs'].shape[-2:])
    geometry = Geometry.of(data['data_samples'][0], image, padded)
    there = [tap for tap in taps if tap is not None]
    maps: dict[Tap | None, FeatureMap | None] = {None: None}
    for tap, found in record(column.network, data['inputs'], data['data_samples'], there).items():
        maps[tap] = FeatureMap(_as_map(found, padded, f'{tap.name!r} of the {column.title}'), geometry)
    return [maps[tap] for tap in taps]


def record(network: BaseModel, inputs: Tensor, samples: list | None, taps: Sequence[Tap]) -> dict[Tap, Any]:
    """What a network's modules got or returned at some taps, in a forward without gradients.

    The forward ends at the last of them. What a later layer does in place does not change the records.
    """
    calls: dict[Place, set[int]] = {}
    for tap in taps:
        calls.setdefault(tap.place, set()).add(tap.record_idx)
    recorder = CallRecorder(network, calls, type(network).__name__, stop=True, clone=calls)
    try:
        with torch.no_grad(), recorder as records:
            plain_forward(network.eval(), inputs, samples)
    finally:
        recorder.remove()
    return {tap: tap.read(records) for tap in taps}


def _as_map(data: Tensor, padded: tuple[int, int], what: str) -> Tensor:
    """A record as (1, C, h, w); tokens (1, L, C) are laid out in the image's form."""
    if data.dim() == 3:
        height = round((data.shape[1] * padded[0] / padded[1]) ** 0.5) or 1
        if data.shape[1] % height:
            grid = f'no grid of the form of its input, {padded[0]} x {padded[1]} pixels'
            cure = 'Take a tap that is a map.'
            raise ValueError(f'--taps: {what} has {data.shape[1]} tokens, which are {grid}. {cure}')
        data = data.transpose(1, 2).unflatten(2, (height, -1))
    if data.dim() != 4:
        raise ValueError(f'--taps: {what} is {tuple(data.shape)} on this image, no map N x C x H x W.')
    return data.float().cpu()
