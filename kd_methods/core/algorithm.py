"""One training step of distillation: teacher, student, losses."""
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from . import wiring
from .arguments import check_arguments
from .distiller import ComposedDistiller, MethodDistiller, build_distiller, loss_statistics, parse_schedules
from .guards import RecordGuard
from .networks import build_network
from .preprocess import pair_preprocessors
from .probe import Probe, probe_network
from .taps import INPUTS, OUTPUTS
from .teacher import FrozenTeacher
from .tie import UnusedParameterTie
from .weights import LossWeights, statistic_name


@MODELS.register_module()
class FrozenTeacherDistill(BaseModel):
    """Trains a student with the help of a frozen teacher.

    It takes the arguments of MMRazor's ``SingleTeacherDistill``, so a config of MMRazor 1.x is used by changing the ``type``.
    Different from it, the teacher is wholly in eval mode, stops at the last place that is read, is loaded strictly, gets its
    own preprocessing, and is no sub-module: it is in no checkpoint, optimizer, EMA average or DDP bucket.

    Args:
        architecture (dict | BaseModel): The student: ``dict(cfg_path=..., **overrides)`` or a model dict.
        teacher (dict | BaseModel): The teacher, likewise.
        distiller (dict): What is distilled and how: one of this package's distillers or MMRazor's.
        teacher_ckpt (str | None): The teacher's weights: a file or http(s) address. Defaults to None, with a warning.
        teacher_ckpt_trusted (bool): Allow this file to hold arbitrary Python objects. Defaults to False.
        teacher_precision (str): ``'same'``, ``'fp32'``, ``'bf16'`` or ``'fp16'``. Defaults to ``'same'``.
        teacher_preprocessor (str): ``'own'`` gives the teacher what its own preprocessor makes of the raw images,
            ``'student'`` the student's input. Defaults to ``'own'``.
        calculate_student_loss (bool): Whether the task loss counts. Defaults to True.
        student_trainable (bool): False trains the distiller's own layers alone. Defaults to True.
        teacher_trainable (bool): Only False.
        teacher_norm_eval (bool): Only True.
        dry_run_size (tuple[int, int]): Height and width in pixels of the dry run that finds the shapes. Defaults to (128, 128).
        data_preprocessor (dict | nn.Module | None): The student's; defaults to the one of ``architecture``.
        init_cfg (dict | None): Initialisation. Defaults to None.
        module_inplace, teacher_module_inplace (bool): Taken for MMRazor's configs, without effect: in-place layers stay as
            they are, and records are protected where one would change them.
    """

    def __init__(self,
                 architecture: dict | BaseModel,
                 teacher: dict | BaseModel | None = None,
                 distiller: dict | nn.Module | None = None,
                 teacher_ckpt: str | None = None,
                 teacher_ckpt_trusted: bool = False,
                 teacher_precision: str = 'same',
                 teacher_preprocessor: str = 'own',
                 calculate_student_loss: bool = True,
                 student_trainable: bool = True,
                 teacher_trainable: bool = False,
                 teacher_norm_eval: bool = True,
                 dry_run_size: tuple[int, int] = (128, 128),
                 data_preprocessor: dict | nn.Module | None = None,
                 init_cfg: dict | None = None,
                 module_inplace: bool = False,
                 teacher_module_inplace: bool = False,
                 **unknown: Any) -> None:
        check_arguments(teacher, distiller, teacher_trainable, teacher_norm_eval, teacher_preprocessor, unknown)
        student = build_network(architecture, 'model.architecture')
        frozen = FrozenTeacher(build_network(teacher, 'model.teacher'), teacher_precision)
        if data_preprocessor is None:
            data_preprocessor = student.data_preprocessor
        elif isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        if teacher_preprocessor == 'own':
            data_preprocessor = pair_preprocessors(data_preprocessor, frozen.model.data_preprocessor)
        super().__init__(data_preprocessor, init_cfg)
        self.architecture = student
        self.teacher = frozen
        self.teacher_ckpt = teacher_ckpt
        self.calculate_student_loss = calculate_student_loss
        self.student_trainable = student_trainable
        self.distillation_stopped = False
        if not student_trainable:
            student.requires_grad_(False)
        if teacher_ckpt:
            report = frozen.load(teacher_ckpt, teacher_ckpt_trusted)
            print_log(f'Teacher weights from {teacher_ckpt}: {report}', logger='current')
        else:
            warnings.warn('model.teacher_ckpt is not set: the teacher has only what its init_cfg loads, or random weights.',
                          stacklevel=2)
        self.distiller = build_distiller(distiller, 'model.distiller')
        self._wire(dry_run_size)
        self._tie = UnusedParameterTie()

    @property
    def student(self) -> BaseModel:
        """The network that is trained."""
        return self.architecture

    @property
    def _leaves(self) -> list[nn.Module]:
        """The distillers themselves, without a composition around them."""
        return list(self.distiller.distillers) if isinstance(self.distiller, ComposedDistiller) else [self.distiller]

    def forward(self,
                inputs: Tensor,
                data_samples: list | None = None,
                mode: str = 'tensor',
                teacher_inputs: Tensor | None = None) -> Any:
        """Losses of a training step (``mode='loss'``), or the student's own ``'predict'`` and ``'tensor'``."""
        if mode == 'loss':
            return self.loss(inputs, data_samples, teacher_inputs)
        return self.architecture(inputs, data_samples, mode=mode)

    def loss(self, inputs: Tensor, data_samples: list | None = None,
             teacher_inputs: Tensor | None = None) -> dict[str, Any]:
        """All losses of one batch: ``student.*`` and ``distill.*``."""
        active = [] if self.distillation_stopped else self.weights.active()
        if active:
            for leaf in self._leaves:
                leaf.deliveries.override_data = False
            self._run_teacher(inputs if teacher_inputs is None else teacher_inputs, data_samples)
            for leaf in self._leaves:
                leaf.deliveries.override_data = True
        student_losses = self._run_student(inputs, data_samples, bool(active))
        losses: dict[str, Any] = {}
        if self.calculate_student_loss:
            losses.update({f'student.{name}': value for name, value in student_losses.items()})
        if active:
            task = _sum_losses(student_losses) if self.calculate_student_loss else None
            distill = self._distill_losses(active, dict(inputs=inputs, data_samples=data_samples), task)
            losses.update({f'distill.{name}': value for name, value in distill.items()})
            for leaf in self._leaves:
                wiring.clear_records(leaf)
        for name in self.weights.idle():  # else the log would keep showing the last weight that it had
            losses[f'distill.{statistic_name(name, "weight")}'] = inputs.new_zeros(())
        if self.training and torch.is_grad_enabled():
            self.weights.advance()
            losses = self._tie(losses, self, (tuple(active), self.calculate_student_loss))
        return losses

    def init_weights(self) -> None:
        """Initialise the student and the adapters; the teacher only where it has no checkpoint."""
        if not self.teacher_ckpt:
            self.teacher.model.init_weights()
        super().init_weights()

    def _run_teacher(self, inputs: Tensor, data_samples: list | None) -> None:
        managers = [m for leaf in self._leaves for m in (leaf.teacher_recorders, leaf.deliveries)]
        self.teacher.run(inputs, data_samples, wiring.recording(*managers))
        if self._protect(self._teacher_guards, 'teacher'):
            self.teacher.run(inputs, data_samples, wiring.recording(*managers))

    def _run_student(self, inputs: Tensor, data_samples: list | None, recorded: bool) -> dict[str, Any]:
        managers = [m for leaf in self._leaves for m in (leaf.student_recorders, leaf.deliveries)] if recorded else []
        with wiring.recording(*managers), torch.set_grad_enabled(self.student_trainable and torch.is_grad_enabled()):
            losses = self.student(inputs, data_samples, mode='loss')
        if recorded and self._protect(self._student_guards, 'student'):
            return self._run_student(inputs, data_samples, recorded)
        return losses

    def _distill_losses(self, active: list[str], data: dict[str, Any], task: Tensor | None) -> dict[str, Tensor]:
        results: dict[str, Tensor] = {}
        for prefix, leaf in self._named_leaves():
            names = [name for name in leaf.distill_losses.keys() if prefix + name in active]
            if isinstance(leaf, MethodDistiller) or not _overrides_computation(leaf):
                losses = wiring.compute_losses(leaf, names, data)
            else:
                losses = leaf.compute_distill_losses()
            for name, value in losses.items():
                if prefix + name not in self.weights.base:
                    results[prefix + name] = value
                    continue
                taps = wiring.student_tensors(leaf, name) if self.weights.finding(prefix + name) else []
                results.update(self.weights.scale(prefix + name, value, task, taps))
                results.update(loss_statistics(prefix + name, leaf.distill_losses[name]))
        return results

    def _wire(self, size: tuple[int, int]) -> None:
        """Dry-run both networks, build the distiller on what was found, check it, and arm the early stop."""
        student = probe_network(self.student, 'student', size)
        teacher = probe_network(self.teacher.model, 'teacher', size)
        composed = isinstance(self.distiller, ComposedDistiller)
        base: dict[str, float] = {}
        schedules, auto = {}, {}
        for i, (prefix, leaf) in enumerate(self._named_leaves()):
            key = 'model.distiller' + (f'.distillers.{prefix[:-1] or i}' if composed else '')
            if isinstance(leaf, MethodDistiller):
                leaf.prepare(student, teacher, key)
            wiring.check_recorders(leaf, student, teacher, key)
            wiring.check_mappings(leaf, key)
            leaf.prepare_from_student(self.student)
            leaf.prepare_from_teacher(self.teacher.model)
            wiring.check_shapes(leaf, student, teacher, key)
            for name, loss in leaf.distill_losses.items():
                if prefix + name in base:
                    raise ValueError(f'{key}: two distillers have a loss {name!r}. Give model.distiller.distillers as a dict, '
                                     'whose keys tell them apart.')
                base[prefix + name] = _own_weight(loss)
            schedules.update({prefix + n: s for n, s in parse_schedules(leaf, key).items()})
            auto.update({prefix + n: a for n, a in getattr(leaf, 'auto_weights', {}).items()})
        if auto and not self.calculate_student_loss:
            raise ValueError(f"model.distiller: loss_weight='auto' of {sorted(auto)} is measured against the task loss, but "
                             'calculate_student_loss=False. Give a number.')
        self.weights = LossWeights(base, schedules, auto)
        self.probes = (student, teacher)
        self._student_guards = self._guard('student', self.student, student)
        self._teacher_guards = self._guard('teacher', self.teacher.model, teacher)
        self._arm_early_stop(teacher)

    def _arm_early_stop(self, probe: Probe) -> None:
        """Find the last call that anything reads, and let the teacher stop there; or run it whole where that is unknown."""
        last: tuple[int, str, int] | None = None
        beyond = []
        for leaf in self._leaves:
            if leaf.deliveries.deliveries:
                beyond += [f'delivery {name!r}' for name in leaf.deliveries.deliveries]
            for name, recorder in leaf.teacher_recorders.recorders.items():
                kind = wiring.recorder_kind(recorder)
                calls = probe.firings.get(recorder.source, []) if kind in (OUTPUTS, INPUTS) else []
                if kind == 'Parameter':
                    continue
                if not calls:
                    beyond.append(f'recorder {name!r} ({kind} of {recorder.source!r})')
                elif last is None or calls[-1].order > last[0]:
                    last = (calls[-1].order, recorder.source, len(calls))
        if beyond:
            self.teacher.mode = 'loss'
            warnings.warn("The teacher runs in mode='loss', heads, targets and losses included, at every step, because "
                          f"{', '.join(beyond)} "
                          "is not reached by a plain forward (mode='tensor'). That can cost many times the time of a forward.",
                          stacklevel=2)
        elif last is not None:
            self.teacher.stop_after(last[1], last[2])

    def _guard(self, side: str, network: nn.Module, probe: Probe) -> list[RecordGuard]:
        guards = []
        for leaf in self._leaves:
            for recorder in getattr(leaf, f'{side}_recorders').recorders.values():
                kind = wiring.recorder_kind(recorder)
                if kind in (OUTPUTS, INPUTS):
                    calls = probe.firings.get(recorder.source, [])
                    changed = any(c.outputs_changed if kind == OUTPUTS else c.inputs_changed for c in calls)
                    guards.append(RecordGuard(network.get_submodule(recorder.source), recorder, kind, protect=changed))
        return guards

    def _protect(self, guards: list[RecordGuard], side: str) -> bool:
        """Turn on protection where a record was just changed in place; True if that forward has to be repeated."""
        repeat = False
        for guard in guards:
            if guard.changed() and not guard.protect:
                guard.protect = repeat = True
                print_log(f'{side}: {guard.recorder.source!r} is changed in place after it was recorded; it is protected from now '
                          'on, and this forward is repeated once.', logger='current')
        return repeat

    def _named_leaves(self) -> Iterator[tuple[str, nn.Module]]:
        names = self.distiller.names if isinstance(self.distiller, ComposedDistiller) else ['']
        return zip([f'{name}.' if name else '' for name in names], self._leaves)

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        self.teacher.model._apply(fn, recurse)  # .to(), .cuda(), .half(): the teacher follows
        return super()._apply(fn, recurse)

    def _set_device(self, device: torch.device) -> None:
        self.teacher.model._set_device(device)
        super()._set_device(device)


def _overrides_computation(distiller: nn.Module) -> bool:
    from mmrazor.models.distillers import ConfigurableDistiller
    return type(distiller).compute_distill_losses is not ConfigurableDistiller.compute_distill_losses


def _own_weight(loss: nn.Module) -> float:
    """A loss's own fixed weight, under the name that MMRazor's losses and this project's use."""
    weight = getattr(loss, 'loss_weight', 1.0)
    return float(weight) if isinstance(weight, (int, float)) else 1.0


def _sum_losses(losses: dict[str, Any]) -> Tensor:
    """The task's objective, as mmengine sums it up."""
    terms = [v.mean() if isinstance(v, Tensor) else sum(t.mean() for t in v) for k, v in losses.items() if 'loss' in k]
    return sum(terms)

