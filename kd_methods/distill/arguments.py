"""Checks of the training step's arguments, before anything is built."""

import os
from types import NoneType
from typing import Any, Literal

from torch import nn

from kd_methods.distill.labels import Labels
from kd_methods.utils.options import Option, Share

_SHAPE = """Write instead:
  model = dict(type='FrozenTeacherDistill',
      architecture=dict(cfg_path='STUDENT.py'),
      teacher=dict(cfg_path='TEACHER.py'), teacher_ckpt='TEACHER.pth',
      distiller=dict(type='mmrazor.ConfigurableDistiller', student_recorders=..., teacher_recorders=...,
                     distill_losses=..., loss_forward_mappings=...))"""


OPTIONS: dict[str, Any] = dict(
    teacher_precision=Literal['same', 'fp32', 'bf16', 'fp16'],
    teacher_preprocessor=Literal['own', 'student'],
    teacher_ckpt=str | None,
    labels=Labels,
    label_confidence=Share,
)
FLAGS = (
    'teacher_ckpt_trusted',
    'teacher_fold_bn',
    'teacher_channels_last',
    'compile_teacher',
    'student_channels_last',
    'calculate_student_loss',
    'student_trainable',
    'teacher_trainable',
)
OPTIONS.update(dict.fromkeys((*FLAGS, 'teacher_norm_eval'), bool))


def check_arguments(given: dict[str, Any], unknown: dict[str, Any]) -> None:
    """Refuse, with the cure, what FrozenTeacherDistill cannot do.

    Args:
        given (dict): Values of its arguments.
        unknown (dict): Arguments that it does not take.

    Raises:
        ValueError: A missing part, the shape of MMRazor 0.x, a trainable teacher, an unknown choice.
        TypeError: An argument that it does not take, or of another type.
    """
    if 'algorithm' in unknown:
        raise ValueError(f'model.algorithm is the shape of MMRazor 0.x. {_SHAPE}')
    if unknown:
        raise TypeError(
            f'model: FrozenTeacherDistill takes no {sorted(unknown)}. It takes architecture, teacher, '
            'teacher_ckpt, distiller, calculate_student_loss, teacher_precision, teacher_preprocessor, ...'
        )
    for name, example in (('architecture', 'cfg_path='), ('teacher', 'cfg_path='), ('distiller', 'type=')):
        if given[name] is None:
            raise ValueError(f'model.{name} is missing: e.g. {name}=dict({example}...).')
    for name, annotation in OPTIONS.items():
        if name == 'teacher_ckpt' and isinstance(given[name], os.PathLike):
            continue
        Option.read(annotation).check('model', name, given[name])
    size = given['dry_run_size']
    two = size is None or isinstance(size, (list, tuple)) and len(size) == 2
    if not two or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in size or ()):
        raise ValueError(
            f'model.dry_run_size must be a height and a width in pixels, e.g. (128, 128). Got: {size!r}'
        )
    for name in ('data_preprocessor', 'init_cfg'):
        if not isinstance(given[name], (dict, list, nn.Module, NoneType)):
            raise TypeError(f'model.{name} must be a dict with a type. Got: {given[name]!r}')
    if given['teacher_trainable']:
        raise ValueError(
            'model.teacher_trainable=True: the teacher of FrozenTeacherDistill is frozen. Train it first '
            'with its own config, then name its weights with teacher_ckpt.'
        )
    if not given['teacher_norm_eval']:
        raise ValueError(
            'model.teacher_norm_eval=False: the teacher is wholly in eval mode here, so that it gives the '
            'predictions that it was tested with. Remove the key.'
        )
