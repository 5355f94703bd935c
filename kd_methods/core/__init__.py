"""What all methods share: the training step, the frozen teacher, taps, the base distiller."""
from .algorithm import FrozenTeacherDistill
from .distiller import ComposedDistiller, MethodDistiller
from .probe import Probe, probe_network
from .taps import Tap, resolve_tap
from .teacher import FrozenTeacher
from .weights import AutoWeight, LossSchedule, LossWeights

__all__ = [
    'AutoWeight', 'ComposedDistiller', 'FrozenTeacher', 'FrozenTeacherDistill', 'LossSchedule', 'LossWeights', 'MethodDistiller',
    'Probe', 'Tap', 'probe_network', 'resolve_tap'
]
