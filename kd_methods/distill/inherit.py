"""A student that starts from parts of its teacher."""

from collections.abc import Sequence

from mmengine.logging import print_log
from torch import nn

from kd_methods.networks.checkpoint import load_strict
from kd_methods.utils.text import first_few

ALL_BUT_BACKBONE = 'all_but_backbone'


def parts_to_inherit(
    inherit: str | Sequence[str] | None, student: nn.Module, teacher: nn.Module, key: str = 'model.inherit'
) -> list[str]:
    """Read which parts the student takes over, and check that they fit, before anything is trained.

    ``'all_but_backbone'`` stands for every other part of the student that has weights.
    """
    if inherit is None:
        return []
    if inherit == ALL_BUT_BACKBONE:
        others = ('backbone', 'data_preprocessor')
        inherit = [n for n, part in student.named_children() if n not in others and part.state_dict()]
    elif isinstance(inherit, str):
        inherit = [inherit]
    if not isinstance(inherit, Sequence) or not all(isinstance(name, str) for name in inherit):
        example = f"('neck', 'bbox_head'), or {ALL_BUT_BACKBONE!r}"
        raise TypeError(f'{key}: give names of parts, e.g. {example}. Got: {inherit!r}')
    for name in inherit:
        for side, network in (('student', student), ('teacher', teacher)):
            if not name or name not in dict(network.named_modules()):
                has = f'It has {[n for n, _ in network.named_children()]}'
                raise KeyError(f'{key}: the {side} ({type(network).__name__}) has no part {name!r}. {has}')
        _check_shapes(name, student, teacher, key)
    return list(inherit)


def inherit_parts(names: Sequence[str], student: nn.Module, teacher: nn.Module) -> None:
    """Copy the weights of these parts from the teacher into the student."""
    if names:
        print_log(f"The student starts from its teacher's {', '.join(names)}.", logger='current')
    for name in names:
        state = teacher.get_submodule(name).state_dict()
        load_strict(student.get_submodule(name), state, f"student's {name}", 'the teacher')


def _check_shapes(name: str, student: nn.Module, teacher: nn.Module, key: str) -> None:
    states = (network.get_submodule(name).state_dict() for network in (student, teacher))
    own, given = ({k: tuple(v.shape) for k, v in state.items()} for state in states)
    names = [k for k in dict.fromkeys([*own, *given]) if own.get(k) != given.get(k)]
    if names:
        pairs = [f'{name}.{k}: student {own.get(k, "-")}, teacher {given.get(k, "-")}' for k in names]
        what = f"{name!r} of the student is not shaped as the teacher's: {first_few(pairs)}"
        cure = 'Inherit only parts of one shape: necks of equal width, heads of equal width and classes'
        raise ValueError(f'{key}: {what}. {cure}')
