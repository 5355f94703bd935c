"""What all methods share: the training step, the frozen teacher, taps, the base distiller."""

from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.distill.distiller import ComposedDistiller, MethodDistiller
from kd_methods.distill.loss_weights import AutoWeight, LossSchedule, LossWeights
from kd_methods.distill.teacher import FrozenTeacher
from kd_methods.networks.probe import Probe, probe_network
from kd_methods.networks.taps import Tap, resolve_tap

__all__ = [
    'AutoWeight',
    'ComposedDistiller',
    'FrozenTeacher',
    'FrozenTeacherDistill',
    'LossSchedule',
    'LossWeights',
    'MethodDistiller',
    'Probe',
    'Tap',
    'probe_network',
    'resolve_tap',
]
