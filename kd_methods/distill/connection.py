"""A distiller between two networks: what it reads of them in a step, and the losses that it makes of that."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kd_methods.compat.razor_recording import RazorRecorders, computes_alone, prepare_alone, take_margins
from kd_methods.distill.distiller import MethodDistiller, parse_schedules
from kd_methods.distill.grids import GridRule
from kd_methods.distill.labels import from_batch
from kd_methods.networks.probe import Probe, format_shape, shapes_of
from kd_methods.networks.recording import (
    INPUTS,
    OUTPUTS,
    CallRecorder,
    Place,
    Records,
    map_tensors,
    tensors_of,
)
from kd_methods.networks.taps import Tap, several_calls

SIDES = ('student', 'teacher')


def side_of(entry: Mapping) -> str:
    """Which network an entry of a mapping reads."""
    return 'student' if entry.get('from_student') else 'teacher'


@dataclass
class StepRecords:
    """A batch, and what both networks did with it.

    Attributes:
        data (dict): ``inputs`` and ``data_samples``, as the student gets them; what else is there goes before
            a field of that name.
        student (Records): What was recorded of the student.
        teacher (Records | None): What was recorded of the teacher; None where it was not run.
        task (dict): The student's own losses.
    """

    data: dict[str, Any]
    student: Records = field(default_factory=Records)
    teacher: Records | None = None
    task: dict[str, Any] = field(default_factory=dict)


class Connection:
    """One distiller between two networks; serves this package's distillers and MMRazor's alike.

    Args:
        name (str): Prefix of its losses' names, ``''`` or ``'name.'``.
        distiller (nn.Module): A :class:`MethodDistiller`, which is prepared here, or one of MMRazor.
        student (Probe): Dry run of the student.
        teacher (Probe): Dry run of the teacher.
        key (str): Config key, for messages.

    Attributes:
        losses (nn.ModuleDict): Its losses, by name without the prefix.
        taps (dict[str, dict[str, Tap]]): By loss and argument, what is read of a module.
        grids (dict[str, GridRule]): By loss, which arguments are brought to one grid.
    """

    def __init__(self, name: str, distiller: nn.Module, student: Probe, teacher: Probe, key: str) -> None:
        self.name, self.distiller, self.key = name, distiller, key
        self.probes = dict(student=student, teacher=teacher)
        self.native = isinstance(distiller, MethodDistiller)
        if self.native:
            distiller.prepare(student, teacher, key)
        self.losses: nn.ModuleDict = distiller.distill_losses
        self.mappings: dict[str, dict[str, dict]] = distiller.loss_forward_mappings
        self.schedules = parse_schedules(distiller, key)
        self.auto_weights = getattr(distiller, 'auto_weights', {})
        self.razor: dict[str, RazorRecorders] = {}
        for side in SIDES:
            manager = getattr(distiller, f'{side}_recorders')
            self.razor[side] = RazorRecorders(manager, distiller.deliveries, side == 'student')
        self.taps: dict[str, dict[str, Tap]] = {}
        self.grids: dict[str, GridRule] = {}
        self._computed: set[str] = set()

    def connect(self) -> None:
        """Find what each loss reads, once the names in the mappings are known to be right."""
        networks = [self.probes[side].model for side in SIDES]
        for side, network in zip(SIDES, networks):
            self.razor[side].initialize(network)
        prepare_alone(self.distiller, *networks)
        take_margins(self.distiller, networks[1])
        for loss, mapping in self.mappings.items():
            taps = {argument: self._tap(entry) for argument, entry in mapping.items()}
            self.taps[loss] = {argument: tap for argument, tap in taps.items() if tap is not None}
            sides = [self.recorded(loss, side) for side in SIDES]
            resize = getattr(self.distiller, 'resize', 'student')
            self.grids[loss] = GridRule.of(self.losses[loss], *sides, resize, networks[0])

    def places(self, side: str) -> dict[Place, set[int] | None]:
        """Which calls of which modules of a network have to be recorded; None: all."""
        taps = list(self._own_taps(side).values())
        for loss, read in self.taps.items():
            taps += [read[argument] for argument in self.recorded(loss, side) if argument in read]
        places: dict[Place, set[int] | None] = {}
        for tap in taps:
            places.setdefault(tap.place, set()).update(tap.calls)
        # Which calls a distiller of MMRazor reads is for it to say: all are kept.
        return {**places, **dict.fromkeys(self.razor[side].modules.values())}

    def beyond(self) -> list[str]:
        """What reads of the teacher what no plain forward (``mode='tensor'``) is known to come to."""
        firings = self.probes['teacher'].firings
        razor = self.razor['teacher']
        found = [f'delivery {name!r}' for name in self.distiller.deliveries.deliveries]
        found += [
            f'recorder {name!r} ({kind} of {source!r})'
            for name, (kind, source) in razor.modules.items()
            if source not in firings
        ]
        return found + [
            f'recorder {name!r} ({type(r).__name__.replace("Recorder", "")} of {r.source!r})'
            for name, r in razor.others.items()
            if type(r).__name__ != 'ParameterRecorder'
        ]

    def compute(self, names: Iterable[str], step: StepRecords) -> dict[str, Tensor]:
        """Some losses, weighted, by name without prefix; all, of a distiller that computes in its own way."""
        if computes_alone(self.distiller):
            for side in SIDES:
                self.razor[side].fill(getattr(step, side).laid_out())
            return self.distiller.compute_distill_losses()
        given = {name: {a: self.read(name, a, step) for a in self.mappings[name]} for name in names}
        return {name: self._tried(name, values) for name, values in given.items()}

    def _tried(self, loss: str, values: dict[str, Any]) -> Tensor:
        """A loss; what fails when it meets its first batch is told with its arguments."""
        if loss in self._computed:
            return self.compute_from(loss, values)
        try:
            value = self.compute_from(loss, values)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            given = ', '.join(f'{a} {format_shape(shapes_of(v))}' for a, v in values.items())
            what = (
                f'{self.key}.distill_losses.{loss} cannot be computed from this batch. Its arguments: {given}'
            )
            raise ValueError(f'{what}. {type(error).__name__}: {error}') from error
        self._computed.add(loss)
        return value

    def compute_from(self, loss: str, values: dict[str, Any]) -> Tensor:
        """A loss of values for its arguments, brought to one grid; summed over the calls of ``@all``."""
        every = [argument for argument, tap in self.taps[loss].items() if tap.record_idx is None]
        counts = {len(values[argument]) for argument in every}
        if len(counts) > 1:
            calls = {argument: len(values[argument]) for argument in every}
            raise ValueError(f'the modules are not called equally often: {calls}. Choose calls with @n.')
        each = [
            {**values, **{argument: values[argument][i] for argument in every}}
            for i in range(counts.pop() if counts else 1)
        ]
        return sum(self.losses[loss](**self.grids[loss](given)) for given in each)

    def read(self, loss: str, argument: str, step: StepRecords) -> Any:
        """The value of an argument of a loss: a record, adapted by its connector, or a part of the batch."""
        entry = self.mappings[loss][argument]
        if 'from_data' in entry:
            return from_batch(step.data, entry['from_data'])
        record = map_tensors(self.record(loss, argument, step), Tensor.contiguous)  # losses may flatten it
        return self.adapt(loss, argument, record)

    def adapt(self, loss: str, argument: str, value: Any) -> Any:
        """What an argument's connector makes of a record; of each call, where all are read."""
        entry, tap = self.mappings[loss][argument], self.taps[loss].get(argument)
        if not entry.get('connector'):
            return value if entry.get('connector_idx') is None else value[entry['connector_idx']]
        connector, index = self.distiller.connectors[entry['connector']], entry.get('connector_idx')
        every = tap is not None and tap.record_idx is None
        adapted = [connector(one) for one in (value if every else [value])]
        adapted = adapted if index is None else [one[index] for one in adapted]
        return adapted if every else adapted[0]

    def record(self, loss: str, argument: str, step: StepRecords) -> Any:
        """What an argument of a loss reads of a network, before any adapter."""
        entry = self.mappings[loss][argument]
        tap = self.taps[loss].get(argument)
        side = side_of(entry)
        return self.razor[side].read(entry) if tap is None else tap.read(getattr(step, side))

    def recorded(self, loss: str, side: str) -> list[str]:
        """The arguments of a loss that read one of the networks."""
        return [a for a, e in self.mappings.get(loss, {}).items() if 'recorder' in e and side_of(e) == side]

    def recorder_names(self, side: str) -> set[str]:
        """Names that a mapping may read of one network: taps and recorders."""
        return {*self._own_taps(side), *self.razor[side].recorders}

    def student_tensors(self, loss: str, step: StepRecords) -> list[Tensor]:
        """The student's recorded tensors with a gradient that a loss reads, before any adapter."""
        values = [self.record(loss, argument, step) for argument in self.recorded(loss, 'student')]
        return [t for value in values for t in tensors_of(value) if t.requires_grad]

    def places_of(self, loss: str) -> str:
        """Where a loss reads the student, for messages."""
        places = []
        for argument in self.recorded(loss, 'student'):
            tap, entry = self.taps[loss].get(argument), self.mappings[loss][argument]
            places.append(entry['recorder'] if tap is None else tap.place_name)
        return ', '.join(dict.fromkeys(places)) or 'the student, of which it reads nothing'

    def init_weights(self) -> None:
        """Initialise connectors and losses, whose plain containers do not pass it on."""
        for module in (*self.distiller.connectors.values(), *self.losses.values()):
            if hasattr(module, 'init_weights'):
                module.init_weights()
        take_margins(self.distiller, self.probes['teacher'].model)

    def clear(self) -> None:
        """Let go of what MMRazor's recorders hold."""
        for razor in self.razor.values():
            razor.clear()

    def _own_taps(self, side: str) -> dict[str, Tap]:
        return getattr(self.distiller, f'{side}_taps') if self.native else {}

    def _tap(self, entry: Mapping) -> Tap | None:
        """The tap that an entry of a mapping reads; None for ground truth, and for what MMRazor records."""
        if 'recorder' not in entry:
            return None
        side, name = side_of(entry), entry['recorder']
        tap = self._own_taps(side).get(name)
        if tap is not None and not {'record_idx', 'data_idx'} & set(entry):
            return tap
        kind, source = tap.place if tap is not None else self.razor[side].modules.get(name, (None, None))
        if kind is None:
            return None
        return self._recorded_tap(self.probes[side], name, kind, source, entry)

    def _recorded_tap(self, probe: Probe, name: str, kind: str, source: str, entry: Mapping) -> Tap:
        """A tap by the indices of MMRazor's mappings, with its shape where the dry run came to it."""
        firings = probe.firings.get(source, [])
        if entry.get('record_idx') is None and len(firings) > 1:
            cure = f'In a mapping of MMRazor: record_idx=0 to {len(firings) - 1}.'
            raise ValueError(f'{self.key}: recorder {name!r}: {several_calls(probe, source)} {cure}')
        call, index, shape = entry.get('record_idx') or 0, entry.get('data_idx'), None
        call = call % len(firings) if -len(firings) <= call < 0 else call
        if call < len(firings):
            shape = firings[call].outputs if kind == OUTPUTS else firings[call].inputs
        if index is not None and isinstance(shape, list):
            if not -len(shape) <= index < len(shape):
                has = f'{source!r} of the {probe.name} returns {len(shape)} tensors.'
                raise ValueError(f'recorder {name!r}: data_idx={index} is out of range, {has}')
            shape = shape[index]
        return Tap(name, kind, source, call, index, shape, len(firings))


def build_recorder(
    connections: Iterable[Connection], side: str, stop: bool = False, others: Iterable[Tap] = ()
) -> CallRecorder:
    """A recorder of what distillers and other taps read of a network; ``stop`` ends a pass after the last."""
    connections = list(connections)
    probe = connections[0].probes[side]
    places: dict[Place, set[int] | None] = {}
    for connection in connections:
        for place, calls in connection.places(side).items():
            known = places.get(place, set())
            places[place] = None if calls is None or known is None else known | calls
    for tap in others:
        places[tap.place] = set(tap.calls) | (places.get(tap.place) or set())
    if stop:
        every = {place: range(len(probe.firings.get(place[1], []))) for place in places}
        places = {place: every[place] if calls is None else calls for place, calls in places.items()}
    changed = [
        (kind, path)
        for kind, path in places
        if any(f.inputs_changed if kind == INPUTS else f.outputs_changed for f in probe.firings.get(path, []))
    ]
    return CallRecorder(probe.model, places, probe.name, stop and bool(places), changed)


@contextlib.contextmanager
def recording(connections: Iterable[Connection], side: str, recorder: CallRecorder) -> Iterator[Records]:
    """Record one network, MMRazor's recorders and deliveries included, while it runs inside of this."""
    with contextlib.ExitStack() as stack:
        for connection in connections:
            stack.enter_context(connection.razor[side].running())
        yield stack.enter_context(recorder)
