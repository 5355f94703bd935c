"""One training step, watched: gradients at the taps, what was recorded, which parameters were reached."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor

from kd_methods.distill import wiring
from kd_methods.networks.probe import Shape, shapes_of, tensors_of
from kd_methods.networks.taps import INPUTS, OUTPUTS


@dataclass
class TapUse:
    """A place that a loss reads, in one of the two networks.

    Attributes:
        name (str): Name of the recorder, or of the tap.
        side (str): ``'student'`` or ``'teacher'``.
        place (str): Module path.
        fires (int): Calls in this step.
        dry (Shape): Shape found in the dry run.
        real (Shape): Shape in this step.
        protected (bool): Kept safe from in-place operations.
    """

    name: str
    side: str
    place: str
    fires: int
    dry: Shape
    real: Shape
    protected: bool


@dataclass
class LossUse:
    """A distillation loss in this step, at full strength of its schedule.

    Attributes:
        name (str): With its distiller's prefix.
        value (float): Its value, own weight included.
        places (list[str]): The student's taps that it reads.
        grad (float | None): Gradient norm there; None where there is no path.
        task (float | None): The task loss's gradient norm there; None where there is no path.
        frozen (bool): The student's records need no gradient at all.
    """

    name: str
    value: float
    places: list[str]
    grad: float | None
    task: float | None
    frozen: bool


@dataclass
class Step:
    """What one watched step showed."""

    taps: list[TapUse] = field(default_factory=list)
    losses: list[LossUse] = field(default_factory=list)
    logged: dict[str, float] = field(default_factory=dict)
    reached: dict[str, bool] = field(
        default_factory=dict
    )  # trainable parameters: whether a loss depends on them
    seconds: float = 0.0
    error: Exception | None = None


def run_step(model: BaseModel, batch: dict, optim_wrapper: OptimWrapper) -> Step:
    """Run a real training step of a model and watch it. An exception in it is a part of the result.

    Args:
        model (BaseModel): A ``FrozenTeacherDistill``, or any plain model.
        batch (dict): As the dataloader gives it.
        optim_wrapper (OptimWrapper): Its optimizer.
    """
    step = Step(reached={name: False for name, p in model.named_parameters() if p.requires_grad})

    def note_gradient(name: str):
        def note(parameter: Tensor) -> None:
            step.reached[name] = True

        return note

    handles = [
        p.register_post_accumulate_grad_hook(note_gradient(name))
        for name, p in model.named_parameters()
        if p.requires_grad
    ]
    watch = _Watch(model, step) if hasattr(model, 'distiller') else None
    model.train()
    start = time.perf_counter()
    try:
        logged = model.train_step(batch, optim_wrapper)
        step.logged = {name: float(value) for name, value in logged.items()}
    except Exception as error:
        step.error = error
    finally:
        step.seconds = time.perf_counter() - start
        for handle in handles:
            handle.remove()
        if watch is not None:
            watch.remove()
            for name in (name for names in model._tie._unused.values() for name in names):
                step.reached[name] = False  # tied with a gradient of zero
    return step


class _Watch:
    """Measures inside a distillation step, between the forward passes and the losses, where the records are.

    Losses that a schedule has off at the first iteration are computed as well, so that they can be measured.
    """

    def __init__(self, model: Any, step: Step) -> None:
        self.model, self.step = model, step
        self.run_student, self.distill_losses = model._run_student, model._distill_losses
        self.task: Tensor | None = None
        model._run_student = self.student
        model._distill_losses = self.distill
        model.weights.active = lambda: [name for name, weight in model.weights.base.items() if weight != 0]

    def remove(self) -> None:
        del self.model._run_student, self.model._distill_losses, self.model.weights.active

    def student(self, *args: Any) -> dict[str, Any]:
        losses = self.run_student(*args)
        self.task = self.model.parse_losses(losses)[0]
        return losses

    def distill(self, active: list[str], data: dict[str, Any], task: Tensor | None) -> dict[str, Tensor]:
        for prefix, leaf in self.model._named_leaves():
            self.step.taps += self._taps(prefix, leaf)
            names = [name for name in leaf.distill_losses.keys() if prefix + name in active]
            for name, value in _compute(leaf, names, data).items():
                self.step.losses.append(self._measure(prefix + name, value, leaf, name))
        return self.distill_losses(active, data, task)

    def _measure(self, full_name: str, value: Tensor, leaf: Any, name: str) -> LossUse:
        places, tensors = [], []
        for record in _records(leaf, name):
            if record['from_student']:
                places.append(
                    _place(leaf.student_recorders.recorders[record['recorder']], record['data_idx'])
                )
                tensors += tensors_of(leaf.get_record(**record))
        attached = [t for t in tensors if t.requires_grad]
        return LossUse(
            full_name,
            float(value.detach()),
            list(dict.fromkeys(places)),
            _gradient_norm(value, attached),
            _gradient_norm(self.task, attached),
            bool(tensors) and not attached,
        )

    def _taps(self, prefix: str, leaf: Any) -> list[TapUse]:
        protected = {
            id(g.recorder): g.protect for g in self.model._student_guards + self.model._teacher_guards
        }
        uses, seen = [], set()
        for name in leaf.loss_forward_mappings:
            for record in _records(leaf, name):
                key = tuple(record.items())
                if key in seen:
                    continue
                seen.add(key)
                side = 'student' if record['from_student'] else 'teacher'
                recorder = getattr(leaf, f'{side}_recorders').recorders[record['recorder']]
                uses.append(
                    TapUse(
                        _tap_name(prefix, leaf, side, record),
                        side,
                        _place(recorder, record['data_idx']),
                        len(getattr(recorder, 'data_buffer', [])),
                        wiring.recorded_shape(leaf, record, *self.model.probes),
                        shapes_of(leaf.get_record(**record)),
                        protected.get(id(recorder), False),
                    )
                )
        return uses


def _compute(leaf: Any, names: list[str], data: dict[str, Any]) -> dict[str, Tensor]:
    try:
        return wiring.compute_losses(leaf, names, data)
    except KeyError:
        return {}  # the step itself is about to say what is missing


def _records(leaf: Any, name: str) -> list[dict]:
    """The records that a loss reads, as arguments of ``get_record`` without any adapter."""
    return [
        dict(
            recorder=r['recorder'],
            from_student=r['from_student'],
            record_idx=r.get('record_idx') or 0,
            data_idx=r.get('data_idx'),
        )
        for r in leaf.loss_forward_mappings.get(name, {}).values()
        if 'recorder' in r
    ]


def _tap_name(prefix: str, leaf: Any, side: str, record: dict) -> str:
    name = record['recorder']
    tap = getattr(leaf, 'taps', {}).get(name, {}).get(side)
    name = prefix + (name if tap in (None, name) else f'{name} = {tap}')
    if tap is None and record['record_idx']:
        name += f', call {record["record_idx"]}'
    return name if tap or record['data_idx'] is None else f'{name}[{record["data_idx"]}]'


def _place(recorder: Any, data_idx: int | None) -> str:
    kind = wiring.recorder_kind(recorder)
    index = '' if data_idx is None or kind != OUTPUTS else f'[{data_idx}]'
    return (
        getattr(recorder, 'source', '?')
        + index
        + {OUTPUTS: '', INPUTS: ' (its input)'}.get(kind, f' ({kind})')
    )


def _gradient_norm(loss: Tensor | None, tensors: list[Tensor]) -> float | None:
    """Norm of a loss's gradient at some tensors; None where none of them leads to it."""
    if loss is None or not loss.requires_grad or not tensors:
        return None
    grads = [
        g for g in torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True) if g is not None
    ]
    return math.sqrt(sum(float(g.detach().double().pow(2).sum()) for g in grads)) if grads else None
