"""Several taps at once: the levels of a backbone or neck, paired between student and teacher."""

from collections.abc import Mapping, Sequence
from typing import Any

from kd_methods.networks.probe import Probe, format_shape
from kd_methods.networks.taps import because


def check_features(where: str, **given: Any) -> None:
    """Raise a TypeError unless each argument is a tap, a list of one or more taps, or None."""
    for name, value in given.items():
        taps = list(value) if isinstance(value, (list, tuple)) else [value]
        if value is not None and not (taps and all(isinstance(tap, str) for tap in taps)):
            example = "['backbone.2', 'backbone.3']"
            raise TypeError(f'{where}.{name}: expected taps such as {example}, got {value!r}')
        twice = sorted({tap for tap in taps if taps.count(tap) > 1}) if value is not None else []
        if twice:
            raise ValueError(f'{where}.{name}: named twice: {twice}. Got: {value!r}')


def pair_levels(
    student: Probe, teacher: Probe, given: Mapping[str, str | Sequence[str] | None], part: str, key: str
) -> dict[str, dict[str, str]]:
    """Taps of corresponding levels of both networks: ``level_0``, ... -> the taps of student and teacher.

    ``given`` are the taps that a config names for each; None: every level of the part (backbone or neck).
    """
    names = {}
    for side, probe in (('student', student), ('teacher', teacher)):
        taps = given[side]
        names[side] = [taps] if isinstance(taps, str) else list(taps or level_taps(probe, part, key))
    if len(names['student']) != len(names['teacher']):
        counts = [f'{len(taps)} levels {taps}' for taps in names.values()]
        cure = 'Name as many of each, of equal strides, with student_features and teacher_features'
        raise ValueError(f'{key}: the student has {counts[0]}, the teacher {counts[1]}. {cure}')
    return {f'level_{i}': dict(student=s, teacher=t) for i, (s, t) in enumerate(zip(*names.values()))}


def level_taps(probe: Probe, part: str, key: str) -> list[str]:
    """Taps of all levels that a network's backbone or neck returns."""
    calls = probe.firings.get(part)
    if not calls or not isinstance(calls[0].outputs, list):
        instead = f': it returns {format_shape(calls[0].outputs)}' if calls else because(probe)
        cure = "Name the taps, e.g. features=['backbone.2', 'backbone.3']."
        size = 'Images too small for the network need a larger model.dry_run_size'
        what = f'the {probe.name} has no {part} that returns levels{instead}'
        raise ValueError(f'{key}.features: {what}. {cure} {size}')
    return [f'{part}.{i}' for i in range(len(calls[0].outputs))]
