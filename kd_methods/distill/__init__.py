"""Two networks: the training step, the frozen teacher, the distillers and the weights of their losses."""

from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.distill.distiller import ComposedDistiller, MethodDistiller

__all__ = ['ComposedDistiller', 'FrozenTeacherDistill', 'MethodDistiller']
