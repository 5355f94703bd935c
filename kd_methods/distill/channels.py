"""Which channels of a batch each network sees: one dataloader feeds an RGB-X teacher and an RGB student."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from kd_methods.networks.probe import dry_run_input
from kd_methods.utils.options import check_names

KEY = 'model.inputs'
#: Transforms of X, and what does the same for the image alone.
_WITHOUT_X = dict(PackRGBXInputs='PackSegInputs', PadRGBX='Pad')


class ChannelLayout:
    """The channels of a batch's images by name, and the names that student and teacher see.

    Args:
        channels (dict[str, int] | Sequence[tuple[str, int]]): Channels of each part, in the order of the
            batch, e.g. ``dict(rgb=3, x=1)``, or as pairs, ``[('rgb', 3), ('x', 1)]``.
        student (str | Sequence[str] | None): Parts for the student. Defaults to None: the first.
        teacher (str | Sequence[str] | None): Parts for the teacher. Defaults to None: all.

    Raises:
        TypeError: An argument is of another kind.
        ValueError: A number of channels is not above 0.
        KeyError: A network is to see a part that ``channels`` does not have.
    """

    def __init__(
        self,
        channels: Mapping[str, int] | Sequence[tuple[str, int]],
        student: str | Sequence[str] | None = None,
        teacher: str | Sequence[str] | None = None,
    ) -> None:
        pairs = isinstance(channels, (list, tuple)) and all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
            for pair in channels
        )
        channels = dict(channels) if pairs else channels
        if not isinstance(channels, Mapping) or not channels:
            raise TypeError(f'{KEY}.channels: expected names, such as dict(rgb=3, x=1). Got: {channels!r}')
        if any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in channels.values()):
            raise ValueError(f'{KEY}.channels: every part has 1 channel or more. Got: {dict(channels)}')
        self.channels = dict(channels)
        self.parts: dict[str, list[str]] = {}
        for side, given in (('student', student), ('teacher', teacher)):
            default = list(channels)[: 1 if side == 'student' else None]
            names = default if given is None else [given] if isinstance(given, str) else list(given)
            unknown = [name for name in names if name not in channels]
            if unknown or not names:
                raise KeyError(f'{KEY}.{side}: expected some of {list(channels)}. Got: {given!r}')
            self.parts[side] = names

    @classmethod
    def parse(cls, cfg: Any) -> 'ChannelLayout | None':
        """Read ``dict(channels=..., student=..., teacher=...)`` of a config; None stays None."""
        if cfg is None or isinstance(cfg, cls):
            return cfg
        if not isinstance(cfg, Mapping):
            raise TypeError(f'{KEY}: expected dict(channels=dict(rgb=3, x=1), ...). Got: {cfg!r}')
        check_names(KEY, cfg, {'channels', 'student', 'teacher'})
        if 'channels' not in cfg:
            raise KeyError(f'{KEY}: channels is missing, e.g. channels=dict(rgb=3, x=1)')
        return cls(**cfg)

    def check(self, networks: Mapping[str, BaseModel]) -> None:
        """Raise unless each network takes as many channels as it is given."""
        for side, network in networks.items():
            takes = dry_run_input(network, (8, 8)).shape[1]
            if takes != self.count(side):
                gives = f'{self.count(side)} channels, {self.parts[side]} of {self.channels}'
                but = f'but it takes {takes}. Correct {KEY}.channels or {KEY}.{side}'
                raise ValueError(f'{KEY} gives the {side} {gives}, {but}')

    @property
    def image_alone(self) -> bool:
        """Whether the student sees the first part, the image, and nothing else."""
        return self.parts['student'] == list(self.channels)[:1]

    @property
    def total(self) -> int:
        """Number of channels of an image of the batch."""
        return sum(self.channels.values())

    def count(self, side: str) -> int:
        """Number of channels that a network sees."""
        return sum(self.channels[name] for name in self.parts[side])

    def select(
        self, inputs: Sequence[Tensor] | Tensor, side: str, given: bool = False
    ) -> Sequence[Tensor] | Tensor:
        """A network's channels of images C x H x W, or of a stacked batch.

        With ``given``, images that have just the network's own channels pass as they are, as at test.
        """
        if isinstance(inputs, Tensor) and inputs.dim() == 4:
            return torch.stack([self._select(image, side, given) for image in inputs])
        return [self._select(image, side, given) for image in inputs]

    def _select(self, image: Tensor, side: str, given: bool) -> Tensor:
        if len(image) != self.total:
            if given and len(image) == self.count(side):
                return image
            has = f'{len(image)} channels, expected {self.total}: {self.channels}'
            cure = 'Load all of them in train_pipeline (LoadXFromFile and PackRGBXInputs for X)'
            raise ValueError(f'{KEY}: the images of the batch have {has}. {cure}')
        parts = dict(zip(self.channels, image.split(list(self.channels.values()))))
        chosen = [parts[name] for name in self.parts[side]]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen)


def keep_order(cfg: Config) -> Config:
    """Give ``model.inputs.channels`` as pairs, in place: mmengine sorts the keys of what it writes."""
    inputs = (cfg.get('model') or {}).get('inputs')
    channels = inputs.get('channels') if isinstance(inputs, Mapping) else None
    if isinstance(channels, Mapping):
        inputs['channels'] = [list(pair) for pair in channels.items()]
    return cfg


def without_x(node: Any) -> Any:
    """A config, or a part of one, without what reads or loads X (see :mod:`kd_methods.rgbx`)."""
    if isinstance(node, Mapping):
        if node.get('type') in _WITHOUT_X:
            kept = {key: value for key, value in node.items() if key not in ('type', 'fill')}
            return type(node)(type=_WITHOUT_X[node['type']], **kept)
        return type(node)({key: without_x(value) for key, value in node.items() if key != 'x_path'})
    if isinstance(node, (list, tuple)):
        kept = [n for n in node if not (isinstance(n, Mapping) and n.get('type') == 'LoadXFromFile')]
        return type(node)(map(without_x, kept))
    return node


def channel_layout(
    cfg: Any, student: BaseModel, teacher: BaseModel, teacher_preprocessor: str
) -> ChannelLayout | None:
    """Read ``model.inputs``; it must fit the networks, and be there where they take different channels."""
    layout = ChannelLayout.parse(cfg)
    if layout is not None:
        layout.check(dict(student=student, teacher=teacher))
        if teacher_preprocessor != 'own':
            must = "teacher_preprocessor must be 'own'"
            raise ValueError(f'{KEY} gives the networks different channels: {must}')
        return layout
    takes = {
        side: dry_run_input(network, (8, 8)).shape[1]
        for side, network in (('student', student), ('teacher', teacher))
    }
    if takes['student'] != takes['teacher']:
        raise ValueError(_unlike(takes))
    return None


def _unlike(takes: Mapping[str, int]) -> str:
    """What to set where the networks take different channels: ``inputs`` only leaves out RGB, or X."""
    what = f'the student takes {takes["student"]} channels, the teacher {takes["teacher"]}'
    few, many = sorted(takes, key=takes.__getitem__)
    part = {takes[many] - 3: 'x', 3: 'rgb'}.get(takes[few])
    if takes[many] <= 3 or part is None:
        cure = 'give both one number of in_channels (backbone) and of values in mean and std'
        return f'model.architecture, model.teacher: {what}, but one batch feeds both: {cure}.'
    sides = f"{few}='{part}', {many}=['rgb', 'x']"
    example = f'inputs=dict(channels=dict(rgb=3, x={takes[many] - 3}), {sides})'
    return f'{KEY} is missing: {what}. Say which channels of the images each sees, e.g. {example}'
