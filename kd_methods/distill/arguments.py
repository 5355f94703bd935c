"""Checks of the training step's arguments, before anything is built."""

from typing import Any

_SHAPE = """Write instead:
  model = dict(type='FrozenTeacherDistill',
      architecture=dict(cfg_path='STUDENT.py'),
      teacher=dict(cfg_path='TEACHER.py'), teacher_ckpt='TEACHER.pth',
      distiller=dict(type='mmrazor.ConfigurableDistiller', student_recorders=..., teacher_recorders=...,
                     distill_losses=..., loss_forward_mappings=...))"""


def check_arguments(given: dict[str, Any], unknown: dict[str, Any]) -> None:
    """Refuse, with the cure, what FrozenTeacherDistill cannot do.

    Args:
        given (dict): Values of the arguments that can be wrong by themselves.
        unknown (dict): Arguments that it does not take.

    Raises:
        ValueError: A missing part, the shape of MMRazor 0.x, a trainable teacher, an unknown choice.
        TypeError: An argument that it does not take.
    """
    if 'algorithm' in unknown:
        raise ValueError(f'model.algorithm is the shape of MMRazor 0.x. {_SHAPE}')
    if unknown:
        raise TypeError(
            f'model: FrozenTeacherDistill takes no {sorted(unknown)}. It takes architecture, teacher, '
            'teacher_ckpt, distiller, calculate_student_loss, teacher_precision, teacher_preprocessor, ...'
        )
    for name, example in (('teacher', 'cfg_path='), ('distiller', 'type=')):
        if given[name] is None:
            raise ValueError(f'model.{name} is missing: e.g. {name}=dict({example}...).')
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
    choice = given['teacher_preprocessor']
    if choice not in ('own', 'student'):
        raise ValueError(f"model.teacher_preprocessor: {choice!r} is neither 'own' nor 'student'.")
