"""Which places of teacher and student are drawn: of the distiller, of the backbone, or as named."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.distill.connection import Connection
from kd_methods.networks.probe import Probe, Shape, format_shape
from kd_methods.networks.taps import Tap, resolve_tap

OPTION = '--taps'


@dataclass(frozen=True)
class Place:
    """A row of a picture: a tap of the student and the teacher's tap beside it."""

    student: Tap | None  # None: a loss reads the teacher alone
    teacher: Tap | None = None  # None: there is no teacher, or a loss reads the student alone

    @property
    def label(self) -> str:
        """Name of the row: the tap, or student's : teacher's where they differ."""
        names = [tap.name for tap in (self.student, self.teacher) if tap is not None]
        return ' : '.join(dict.fromkeys(names))

    def of(self, side: str) -> Tap | None:
        """The tap of a side, ``'student'`` or ``'teacher'``."""
        return self.student if side == 'student' else self.teacher


def named_places(names: Sequence[str], student: Probe, teacher: Probe | None) -> list[Place]:
    """Find taps that a user has named, as ``'student:teacher'`` where the two networks differ."""
    places = []
    for name in names:
        pair = _split(name)
        if len(pair) == 2 and teacher is None:
            why = 'a pair is student:teacher, and a plain config has no teacher'
            raise ValueError(f'{OPTION} {name}: {why}. Name one tap.')
        taps = []
        for probe, part in ((student, pair[0]), (teacher, pair[-1])):
            if probe is None:
                continue
            tap = resolve_tap(probe, part, OPTION)
            if tap.record_idx is None:
                raise ValueError(
                    f'{OPTION}: {tap.name!r}: name one call, {tap.each()[0].name!r} for the first.'
                )
            if not is_map(tap.shape):
                shape = f'{format_shape(tap.shape)}, no map N x C x H x W of several places'
                cure = '`python tools/check.py CONFIG --taps` lists all places with their shapes.'
                raise ValueError(f'{OPTION}: {tap.name!r} of the {probe.name} is {shape}. {cure}')
            taps.append(tap)
        places.append(Place(*taps))
    return _unique(places)


def backbone_places(student: Probe, teacher: Probe | None = None) -> list[Place]:
    """All outputs of the backbone; with a teacher, paired as far as both have them."""
    probes = [probe for probe in (student, teacher) if probe is not None]
    outputs = [calls[0].outputs for probe in probes if (calls := probe.firings.get('backbone'))]
    count = min((len(out) if isinstance(out, list) else 1 for out in outputs), default=0)
    names = [f'backbone.{i}' for i in range(count)]
    places = [Place(*(resolve_tap(probe, name, OPTION) for probe in probes)) for name in names]
    places = [place for place in places if is_map(place.student.shape)]
    if not places:
        why = f'the {student.name} has no backbone that returns maps, so the places must be named'
        raise ValueError(f'{OPTION}: {why}. `python tools/check.py CONFIG --taps` lists them.')
    return places


def distiller_places(model: FrozenTeacherDistill) -> list[Place]:
    """All maps that the losses of a distiller read, of the student beside those of the teacher.

    They come in the order in which the student (where it has no part, the teacher) computes them.
    """
    places: list[Place] = []
    for connection in model.connections:
        for loss, taps in connection.taps.items():
            sides: dict[str, list[Tap]] = {'student': [], 'teacher': []}
            for side, maps in sides.items():
                for argument in connection.recorded(loss, side):
                    if argument in taps:
                        maps += _maps_of(connection, side, taps[argument])
            places += [Place(*pair) for pair in zip_longest(*sides.values())]

    def order(place: Place) -> tuple[bool, int, int]:
        tap, probe = (place.student, model.probes[0]) if place.student else (place.teacher, model.probes[1])
        return place.student is None, probe.firings[tap.source][tap.record_idx].order, tap.data_idx or 0

    return sorted(_unique(places), key=order)


def is_map(shape: Shape) -> bool:
    """Whether a shape is a map N x C x H x W, or tokens N x L x C in a square, of several places."""
    if not isinstance(shape, tuple):
        return False
    if len(shape) == 3:
        return shape[1] > 1 and math.isqrt(shape[1]) ** 2 == shape[1]
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _unique(places: list[Place]) -> list[Place]:
    """Without those that are there already, by another name perhaps: ``backbone.-1`` and ``backbone.3``."""

    def where(tap: Tap | None) -> tuple | None:
        return tap and (tap.kind, tap.source, tap.record_idx, tap.data_idx)

    first: dict[tuple, Place] = {}
    for place in places:
        first.setdefault((where(place.student), where(place.teacher)), place)
    return list(first.values())


def _split(name: str) -> list[str]:
    """The one or two taps of ``'student:teacher'``; ``module:`` is a part of a tap's name."""
    parts: list[str] = []
    for part in name.split(':'):
        if parts and parts[-1] == 'module':
            parts[-1] += f':{part}'
        else:
            parts.append(part)
    if len(parts) > 2 or not all(parts) or 'module' in parts:
        pair = "student:teacher, 'backbone.3:backbone.2'"
        raise ValueError(f"{OPTION} {name}: expected a tap such as 'backbone.3', or {pair}.")
    return parts


def _maps_of(connection: Connection, side: str, tap: Tap) -> list[Tap]:
    """The maps at a tap that a loss reads, named as in the config. A recorder of MMRazor may hold several."""
    pair = getattr(connection.distiller, 'taps', {}).get(tap.name)
    name = pair[side] if pair else tap.name
    if not pair and tap.name in connection.razor[side].modules:
        name = tap.source + ('' if tap.data_idx is None else f'.{tap.data_idx}')
    taps = replace(tap, name=name).each()
    if tap.record_idx is not None and isinstance(tap.shape, list):
        taps = [replace(tap, name=f'{name}.{i}', data_idx=i, shape=s) for i, s in enumerate(tap.shape)]
    return [tap for tap in taps if is_map(tap.shape)]
