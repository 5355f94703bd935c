"""One training step, watched: gradients at the taps, what was recorded, which parameters were reached."""

import time
from dataclasses import dataclass, field
from functools import partial

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor

from kd_methods.compat.razor_recording import recorder_kind
from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.distill.connection import Connection, StepRecords, side_of
from kd_methods.distill.loss_weights import gradient_norm
from kd_methods.networks.probe import Shape, shapes_of
from kd_methods.networks.recording import tensors_of


@dataclass
class TapUse:
    """A place that a loss reads, in one of the two networks."""

    name: str  # of the recorder, or of the tap
    side: str  # 'student' or 'teacher'
    place: str  # module path
    fires: int  # calls in this step
    dry: Shape  # found in the dry run
    real: Shape  # in this step
    protected: bool  # kept safe from in-place operations
    resized: tuple[int, int] | None = None  # to the other network's grid, for a loss that compares places


@dataclass
class LossUse:
    """A distillation loss in this step, at full strength of its schedule.

    What it contributes is what the optimizer would get more of with it than without: the difference of the
    two sums that the model's ``parse_losses`` makes.
    """

    name: str  # with its distiller's prefix
    value: float  # own weight included
    places: list[str]  # the student's taps that it reads
    grad: float | None  # gradient norm there of its part of the objective; None: there is no path
    task: float | None  # the task loss's gradient norm there; None: there is no path
    frozen: bool  # the student's records need no gradient at all
    alone: float | None = None  # gradient norm there of the value, whether the objective has it or not
    auto: float | None = None  # the weight that finds itself
    with_cp: bool = False  # the student checkpoints its activations


@dataclass
class Step:
    """What one watched step showed."""

    taps: list[TapUse] = field(default_factory=list)
    losses: list[LossUse] = field(default_factory=list)
    logged: dict[str, float] = field(default_factory=dict)
    reached: dict[str, bool] = field(default_factory=dict)  # trainable parameter -> a loss depends on it
    seconds: float = 0.0
    error: Exception | None = None


def run_step(model: BaseModel, batch: dict, optim_wrapper: OptimWrapper) -> Step:
    """Run a real training step of a model and watch it. An exception in it is a part of the result."""
    distils = isinstance(model, FrozenTeacherDistill)
    if distils:
        model.proof.open.clear()  # what would stop a run is told with all else that is wrong
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    step = Step(reached=dict.fromkeys(trained, False))

    def note_gradient(name: str, parameter: Tensor) -> None:
        step.reached[name] = True

    hooks = {name: partial(note_gradient, name) for name in trained}
    handles = [p.register_post_accumulate_grad_hook(hooks[name]) for name, p in trained.items()]
    model.train()
    start = time.perf_counter()
    try:
        if distils:
            logged = _distill_step(model, batch, optim_wrapper, step)
        else:
            logged = model.train_step(batch, optim_wrapper)
        step.logged = {name: float(value) for name, value in logged.items()}
    except Exception as error:
        step.error = error
    finally:
        step.seconds = time.perf_counter() - start
        for handle in handles:
            handle.remove()
    if distils:
        step.reached.update(dict.fromkeys(model.tie.tied, False))  # tied with a gradient of zero
    return step


def _distill_step(
    model: FrozenTeacherDistill, batch: dict, optim_wrapper: OptimWrapper, step: Step
) -> dict[str, Tensor]:
    """``train_step``, with measurements between the passes and the update.

    Losses that a schedule has off at the first iteration are computed as well, so that they can be measured.
    """
    with optim_wrapper.optim_context(model):
        data = model.data_preprocessor(batch, True)
        counting = [name for name, weight in model.weights.base.items() if weight != 0]
        records = model.record(**data, every=bool(counting))
        if counting:
            _measure(model, records, counting, step)
        losses = model.finish(model.losses(records, counting))
    total, logged = model.parse_losses(losses)
    optim_wrapper.update_params(total)
    return logged


def _measure(model: FrozenTeacherDistill, records: StepRecords, counting: list[str], step: Step) -> None:
    task = model.parse_losses(records.task)[0]
    for connection in model.connections:
        step.taps += _taps(model, connection, records)
    try:
        values = model.distill_losses(records, counting)
        with model.weights.full_strength():
            losses = model.losses(records, counting)
    except (KeyError, ValueError, TypeError, RuntimeError):
        return  # the step itself is about to say it
    total = model.parse_losses(losses)[0]
    checkpointed = any(getattr(module, 'with_cp', False) for module in model.student.modules())
    for name, value in values.items():
        connection = model.owners.get(name)
        if connection is None:
            continue
        loss = name.removeprefix(connection.name)
        tensors, places = [], []
        for argument in connection.recorded(loss, 'student'):
            tensors += tensors_of(connection.record(loss, argument, records))
            places.append(_place(connection, loss, argument))
        attached = [t for t in tensors if t.requires_grad]
        rest = model.parse_losses({k: v for k, v in losses.items() if k != f'distill.{name}'})[0]
        norms = (gradient_norm(term, attached) for term in (total - rest, task, value))
        grad, at_task, alone = (None if norm is None else float(norm) for norm in norms)
        found = model.weights.auto_of(name)
        use = LossUse(name, float(value.detach()), list(dict.fromkeys(places)), grad, at_task, False, alone)
        use.frozen, use.with_cp = bool(tensors) and not attached, checkpointed
        use.auto = None if found is None else float(found.weight())
        step.losses.append(use)


def _taps(model: FrozenTeacherDistill, connection: Connection, records: StepRecords) -> list[TapUse]:
    uses: dict[tuple, TapUse] = {}
    for loss, mapping in connection.mappings.items():
        sizes = _sizes(connection, loss, records)
        for argument in mapping:
            if 'recorder' not in mapping[argument]:
                continue
            tap, side = connection.taps[loss].get(argument), side_of(mapping[argument])
            real = shapes_of(connection.record(loss, argument, records))
            name, place = _tap_name(connection, loss, argument), _place(connection, loss, argument)
            fires, dry, cloned = 1, None, False
            if tap is not None:
                recorder = model.recorder if side == 'student' else model.teacher.recorder
                fires, dry, cloned = tap.fires, tap.shape, tap.place in recorder.clone
            use = TapUse(name, side, place, fires, dry, real, cloned, sizes.get(argument))
            uses.setdefault((side, name, place, use.resized), use)
    return list(uses.values())


def _sizes(connection: Connection, loss: str, records: StepRecords) -> dict[str, tuple[int, int]]:
    """The sizes that a loss's maps are resized to, by argument; of several calls the first's."""
    values = {}
    for argument in connection.mappings[loss]:
        if 'recorder' in connection.mappings[loss][argument]:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                value = connection.read(loss, argument, records)
            values[argument] = value[0] if isinstance(value, list) and value else value
    return connection.grids[loss].sizes(values)


def _tap_name(connection: Connection, loss: str, argument: str) -> str:
    """How the config names what a loss reads: a tap, or a recorder with its call and its tensor."""
    entry = connection.mappings[loss][argument]
    name, side = entry['recorder'], side_of(entry)
    pair = getattr(connection.distiller, 'taps', {}).get(name)
    if pair is not None:
        return connection.name + (name if pair[side] == name else f'{name} = {pair[side]}')
    name = connection.name + name + (f', call {entry["record_idx"]}' if entry.get('record_idx') else '')
    return name if entry.get('data_idx') is None else f'{name}[{entry["data_idx"]}]'


def _place(connection: Connection, loss: str, argument: str) -> str:
    """Module path of what a loss reads, with the index of the tensor."""
    entry, tap = connection.mappings[loss][argument], connection.taps[loss].get(argument)
    if tap is None:
        recorder = connection.razor[side_of(entry)].recorders[entry['recorder']]
        return f'{recorder.source} ({recorder_kind(recorder)})'
    return tap.place_name
