"""MMRazor's recorders and deliveries, for configs that name them.

A distiller of MMRazor reads from recorder objects. Those of modules are filled with what
:class:`~kd_methods.networks.recording.CallRecorder` recorded, and never run themselves. MMRazor runs the
recorders of parameters, functions and methods, and the deliveries.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules import DistillDeliveryManager, RecorderManager
from torch import nn

#: MMRazor's losses that resize by themselves, or compare images with one another within each network.
OWN_GRIDS = ('PKDLoss', 'DistanceWiseRKD', 'AngleWiseRKD', 'FBKDLoss', 'CRDLoss')
MODULE_KINDS = ('ModuleOutputs', 'ModuleInputs')


def recorder_kind(recorder: Any) -> str:
    """Type of a MMRazor recorder as a config names it, e.g. ``'ModuleOutputs'``."""
    return type(recorder).__name__.replace('Recorder', '')


def compares_places(loss: nn.Module) -> bool:
    """Whether a loss of MMRazor compares maps of two networks place by place."""
    return not any(cls.__name__ in OWN_GRIDS for cls in type(loss).__mro__)


def computes_alone(distiller: nn.Module) -> bool:
    """Whether a distiller of MMRazor computes its losses in another way than from its mappings."""
    own = getattr(type(distiller), 'compute_distill_losses', None)
    return own not in (None, ConfigurableDistiller.compute_distill_losses)


class RazorRecorders:
    """The recorders of one network.

    Args:
        manager (RecorderManager): MMRazor's.
        deliveries (DistillDeliveryManager): Those of the distiller.
        override (bool): What the deliveries do during a pass of this network: False keeps what its functions
            return, True replaces that by what was kept.
    """

    def __init__(self, manager: RecorderManager, deliveries: DistillDeliveryManager, override: bool) -> None:
        self.recorders = dict(manager.recorders)
        self.deliveries, self.override = deliveries, override
        kinds = {name: recorder_kind(recorder) for name, recorder in self.recorders.items()}
        self.modules = {n: (k, self.recorders[n].source) for n, k in kinds.items() if k in MODULE_KINDS}
        self.others = {name: r for name, r in self.recorders.items() if name not in self.modules}

    def initialize(self, network: nn.Module) -> None:
        """Let the recorders that MMRazor runs find what they record."""
        for recorder in self.others.values():
            recorder.initialize(network)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record, and keep or replace what functions return, during a forward pass."""
        self.deliveries.override_data = self.override
        with ExitStack() as stack:
            for part in (*self.others.values(), self.deliveries):
                stack.enter_context(part)
            yield

    def fill(self, records: Any) -> None:
        """Put what was recorded of modules where MMRazor's distillers look for it."""
        for name, place in self.modules.items():
            self.recorders[name].reset_data_buffer()
            self.recorders[name].data_buffer.extend(records.all(place))

    def read(self, entry: Mapping) -> Any:
        """What one of the recorders that MMRazor runs holds, by an entry of a mapping."""
        recorder = self.recorders[entry['recorder']]
        try:
            return recorder.get_record_data(entry.get('record_idx') or 0, entry.get('data_idx'))
        except AssertionError as error:
            why = f'{error}. It did not fire as often as the mapping says.'
            raise ValueError(f'recorder {entry["recorder"]!r}: {why}') from error

    def clear(self) -> None:
        """Let go of what was recorded, so that no activation outlives its step."""
        for recorder in self.recorders.values():
            recorder.reset_data_buffer()


def prepare_alone(distiller: nn.Module, student: nn.Module, teacher: nn.Module) -> None:
    """Let a distiller with a preparation that is not MMRazor's look at both networks."""
    for side, network in (('student', student), ('teacher', teacher)):
        stock = getattr(ConfigurableDistiller, f'prepare_from_{side}')
        if getattr(type(distiller), f'prepare_from_{side}', stock) is not stock:
            getattr(distiller, f'prepare_from_{side}')(network)


def take_margins(distiller: nn.Module, teacher: nn.Module) -> None:
    """MMRazor's OFD distiller takes the margins of its adapters from the teacher's batch norms."""
    if hasattr(distiller, 'init_ofd_connectors'):
        distiller.init_ofd_connectors(teacher)
