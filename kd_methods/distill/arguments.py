"""Checks of the training step's arguments, before anything is built."""

from typing import Any


def check_arguments(
    teacher: Any,
    distiller: Any,
    teacher_trainable: bool,
    teacher_norm_eval: bool,
    teacher_preprocessor: str,
    unknown: dict,
) -> None:
    """Refuse, with the cure, what FrozenTeacherDistill cannot do.

    Raises:
        ValueError: A missing part, the shape of MMRazor 0.x, a trainable teacher, an unknown choice.
        TypeError: An argument that it does not take.
    """
    if 'algorithm' in unknown:
        raise ValueError(
            'model.algorithm is the shape of MMRazor 0.x. Write instead:\n  model = '
            "dict(type='FrozenTeacherDistill',\n"
            "      architecture=dict(cfg_path='STUDENT.py'), teacher=dict(cfg_path='TEACHER.py'), "
            "teacher_ckpt='TEACHER.pth',\n"
            "      distiller=dict(type='mmrazor.ConfigurableDistiller', student_recorders=..., "
            'teacher_recorders=...,\n'
            '                     distill_losses=..., loss_forward_mappings=...))'
        )
    if unknown:
        raise TypeError(
            f'model: FrozenTeacherDistill takes no {sorted(unknown)}. It takes architecture, teacher, '
            'teacher_ckpt, distiller, calculate_student_loss, teacher_precision, teacher_preprocessor, ...'
        )
    if teacher is None or distiller is None:
        name = 'teacher' if teacher is None else 'distiller'
        raise ValueError(
            f'model.{name} is missing: e.g. {name}=dict({"cfg_path=" if teacher is None else "type="}...).'
        )
    if teacher_trainable:
        raise ValueError(
            'model.teacher_trainable=True: the teacher of FrozenTeacherDistill is frozen. Train it first '
            'with its own config, then name its weights with teacher_ckpt.'
        )
    if not teacher_norm_eval:
        raise ValueError(
            'model.teacher_norm_eval=False: the teacher is wholly in eval mode here, so that it gives the '
            'predictions that it was tested with. Remove the key.'
        )
    if teacher_preprocessor not in ('own', 'student'):
        raise ValueError(
            f"model.teacher_preprocessor: {teacher_preprocessor!r} is neither 'own' nor 'student'."
        )
