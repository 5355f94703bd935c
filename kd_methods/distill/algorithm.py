"""One training step of distillation: teacher, student, losses."""

import logging
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from kd_methods.distill import wiring
from kd_methods.distill.arguments import check_arguments
from kd_methods.distill.channels import channel_layout
from kd_methods.distill.distiller import (
    ComposedDistiller,
    MethodDistiller,
    build_distiller,
    loss_statistics,
    parse_schedules,
)
from kd_methods.distill.guards import RecordGuard
from kd_methods.distill.inherit import inherit_parts, parts_to_inherit
from kd_methods.distill.loss_weights import LossWeights, own_weight, statistic_name, sum_losses
from kd_methods.distill.preprocess import pair_preprocessors
from kd_methods.distill.teacher import FrozenTeacher
from kd_methods.distill.unused_parameters import UnusedParameterTie
from kd_methods.networks.config import build_network
from kd_methods.networks.probe import Probe, probe_network


@MODELS.register_module()
class FrozenTeacherDistill(BaseModel):
    """Trains a student with the help of a frozen teacher.

    It takes the arguments of MMRazor's ``SingleTeacherDistill``, so a config of MMRazor 1.x is used by
    changing the ``type``. Different from it, the teacher is wholly in eval mode, stops at the last place that
    is read, is loaded strictly, gets its own preprocessing, and is no sub-module: it is in no checkpoint,
    optimizer, EMA average or DDP bucket.

    Args:
        architecture (dict | BaseModel): The student: ``dict(cfg_path=..., **overrides)`` or a model dict.
        teacher (dict | BaseModel): The teacher, likewise.
        distiller (dict): What is distilled and how: one of this package's distillers or MMRazor's.
        teacher_ckpt (str | None): The teacher's weights: a file or http(s) address. Defaults to None, with a
            warning.
        teacher_ckpt_trusted (bool): Allow this file to hold arbitrary Python objects. Defaults to False.
        teacher_precision (str): ``'same'``, ``'fp32'``, ``'bf16'`` or ``'fp16'``. Defaults to ``'same'``.
        teacher_preprocessor (str): ``'own'`` gives the teacher what its own preprocessor makes of the raw
            images, ``'student'`` the student's input. Defaults to ``'own'``.
        inputs (dict | None): Which channels of the images each network sees, where these differ:
            ``dict(channels=dict(rgb=3, x=1), student='rgb', teacher=['rgb', 'x'])``, of which the last two
            are the default (:class:`~kd_methods.distill.channels.ChannelLayout`). Defaults to None: both see
            all.
        inherit (str | Sequence[str] | None): Parts that the student takes over from the teacher when weights
            are initialised, such as ``('neck', 'bbox_head')``, or ``'all_but_backbone'``; they must have one
            shape. Defaults to None.
        calculate_student_loss (bool): Whether the task loss counts. Defaults to True.
        student_trainable (bool): False trains the distiller's own layers alone. Defaults to True.
        teacher_trainable (bool): Only False.
        teacher_norm_eval (bool): Only True.
        dry_run_size (tuple[int, int]): Height and width in pixels of the dry run that finds the shapes.
            Defaults to (128, 128).
        data_preprocessor (dict | nn.Module | None): The student's; defaults to the one of ``architecture``.
        init_cfg (dict | None): Initialisation. Defaults to None.
        module_inplace, teacher_module_inplace (bool): Taken for MMRazor's configs, without effect: in-place
            layers stay as they are, and records are protected where one would change them.
    """

    def __init__(
        self,
        architecture: dict | BaseModel,
        teacher: dict | BaseModel | None = None,
        distiller: dict | nn.Module | None = None,
        teacher_ckpt: str | None = None,
        teacher_ckpt_trusted: bool = False,
        teacher_precision: str = 'same',
        teacher_preprocessor: str = 'own',
        inputs: dict | None = None,
        inherit: str | Sequence[str] | None = None,
        calculate_student_loss: bool = True,
        student_trainable: bool = True,
        teacher_trainable: bool = False,
        teacher_norm_eval: bool = True,
        dry_run_size: tuple[int, int] = (128, 128),
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
        module_inplace: bool = False,
        teacher_module_inplace: bool = False,
        **unknown: Any,
    ) -> None:
        check_arguments(
            teacher, distiller, teacher_trainable, teacher_norm_eval, teacher_preprocessor, unknown
        )
        student = build_network(architecture, 'model.architecture')
        teacher_network = build_network(teacher, 'model.teacher')
        if teacher_network is student:
            raise ValueError(
                'model.teacher is the very network of model.architecture: freezing it would freeze the '
                'student. Give a copy or its config.'
            )
        frozen = FrozenTeacher(teacher_network, teacher_precision)
        if data_preprocessor is None:
            data_preprocessor = student.data_preprocessor
        elif isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        layout = channel_layout(inputs, student, teacher_network, teacher_preprocessor)
        if teacher_preprocessor == 'own':
            data_preprocessor = pair_preprocessors(data_preprocessor, frozen.model.data_preprocessor, layout)
        super().__init__(data_preprocessor, init_cfg)
        self.architecture = student
        self.teacher = frozen
        frozen.holder = weakref.ref(self)
        self.teacher_ckpt = teacher_ckpt
        self.inherit = parts_to_inherit(inherit, student, teacher_network)
        self.calculate_student_loss = calculate_student_loss
        self.student_trainable = student_trainable
        self.distillation_stopped = False
        if not student_trainable:
            student.requires_grad_(False)
        if teacher_ckpt:
            report = frozen.load(teacher_ckpt, teacher_ckpt_trusted)
            print_log(f'Teacher weights from {teacher_ckpt}: {report}', logger='current')
        else:
            warnings.warn(
                'model.teacher_ckpt is not set: the teacher has only what its init_cfg loads, or random '
                'weights.',
                stacklevel=2,
            )
        self.distiller = build_distiller(distiller, 'model.distiller')
        self._wire(dry_run_size)
        if not (student_trainable or any(p.requires_grad for p in self.distiller.parameters())):
            raise ValueError(
                'model.student_trainable=False leaves nothing to train: this distiller has no layers of '
                'its own.'
            )
        self._tie = UnusedParameterTie()
        self._disconnected: set[str] = set()

    @property
    def student(self) -> BaseModel:
        """The network that is trained."""
        return self.architecture

    @property
    def _leaves(self) -> list[nn.Module]:
        """The distillers themselves, without a composition around them."""
        return (
            list(self.distiller.distillers)
            if isinstance(self.distiller, ComposedDistiller)
            else [self.distiller]
        )

    def forward(
        self,
        inputs: Tensor,
        data_samples: list | None = None,
        mode: str = 'tensor',
        teacher_inputs: Tensor | None = None,
    ) -> Any:
        """Losses of a training step (``mode='loss'``), or the student's own ``'predict'`` and ``'tensor'``."""
        if mode == 'loss':
            return self.loss(inputs, data_samples, teacher_inputs)
        return self.architecture(inputs, data_samples, mode=mode)

    def loss(
        self, inputs: Tensor, data_samples: list | None = None, teacher_inputs: Tensor | None = None
    ) -> dict[str, Any]:
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
            task = sum_losses(student_losses) if self.calculate_student_loss else None
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
        """Initialise the student (from parts of the teacher if it inherits) and the adapters; the teacher
        without checkpoint.
        """
        if not self.teacher_ckpt:
            self.teacher.model.init_weights()
        super().init_weights()
        inherit_parts(self.inherit, self.student, self.teacher.model)
        for leaf in self._leaves:
            wiring.init_adapters(leaf)
            self._prepare_ofd(leaf)

    def train(self, mode: bool = True) -> 'FrozenTeacherDistill':
        """Switch to training; a student that is not trained stays in eval mode, batch statistics included."""
        super().train(mode)
        if not self.student_trainable:
            self.architecture.eval()
        return self

    def _run_teacher(self, inputs: Tensor, data_samples: list | None) -> None:
        managers = [m for leaf in self._leaves for m in (leaf.teacher_recorders, leaf.deliveries)]
        self.teacher.run(inputs, data_samples, wiring.recording(*managers))
        if self._protect(self._teacher_guards, 'teacher'):
            self.teacher.run(inputs, data_samples, wiring.recording(*managers))

    def _run_student(self, inputs: Tensor, data_samples: list | None, recorded: bool) -> dict[str, Any]:
        managers = (
            [m for leaf in self._leaves for m in (leaf.student_recorders, leaf.deliveries)]
            if recorded
            else []
        )
        with (
            wiring.recording(*managers),
            torch.set_grad_enabled(self.student_trainable and torch.is_grad_enabled()),
        ):
            losses = self.student(inputs, data_samples, mode='loss')
        if recorded and self._protect(self._student_guards, 'student'):
            return self._run_student(inputs, data_samples, recorded)
        return losses

    def _distill_losses(
        self, active: list[str], data: dict[str, Any], task: Tensor | None
    ) -> dict[str, Tensor]:
        results: dict[str, Tensor] = {}
        for prefix, leaf in self._named_leaves():
            names = [name for name in leaf.distill_losses.keys() if prefix + name in active]
            if isinstance(leaf, MethodDistiller) or not wiring.overrides_computation(leaf):
                losses = wiring.compute_losses(leaf, names, data)
            else:
                losses = leaf.compute_distill_losses()
            for name, value in losses.items():
                if prefix + name not in self.weights.base:
                    results[prefix + name] = value
                    continue
                if prefix + name not in active:  # computed all the same by a distiller with a way of its own
                    continue
                taps = wiring.student_tensors(leaf, name)
                if not taps and self.student_trainable and torch.is_grad_enabled():
                    self._warn_disconnected(prefix + name)
                results.update(self.weights.scale(prefix + name, value, task, taps))
                results.update(loss_statistics(prefix + name, leaf.distill_losses[name]))
        return results

    def _warn_disconnected(self, name: str) -> None:
        """Say once that a loss reaches no trainable part of the student."""
        if name not in self._disconnected:
            self._disconnected.add(name)
            print_log(
                f'distill.{name}: no gradient can reach the student through its tap, so this loss teaches '
                'it nothing: the tap lies in a frozen stage, or inside re-entrant activation checkpointing '
                '(with_cp).',
                logger='current',
                level=logging.WARNING,
            )

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
            self._prepare_ofd(leaf)
            wiring.check_shapes(leaf, student, teacher, key)
            for name, loss in leaf.distill_losses.items():
                if prefix + name in base:
                    raise ValueError(
                        f'{key}: two distillers have a loss {name!r}. Give model.distiller.distillers as a '
                        'dict, whose keys tell them apart.'
                    )
                base[prefix + name] = own_weight(loss)
            schedules.update({prefix + n: s for n, s in parse_schedules(leaf, key).items()})
            auto.update({prefix + n: a for n, a in getattr(leaf, 'auto_weights', {}).items()})
        if auto and not (self.calculate_student_loss and self.student_trainable):
            raise ValueError(
                f"model.distiller: loss_weight='auto' of {sorted(auto)} is measured against the task loss, "
                'but calculate_student_loss=False or student_trainable=False. Give a number.'
            )
        self.weights = LossWeights(base, schedules, auto)
        self.probes = (student, teacher)
        self._student_guards = wiring.guard_records(self._leaves, 'student', student)
        self._teacher_guards = wiring.guard_records(self._leaves, 'teacher', teacher)
        self._arm_early_stop(teacher)

    def _prepare_ofd(self, leaf: nn.Module) -> None:
        """MMRazor's OFD distiller takes the margins of its adapters from the teacher's batch norms."""
        if hasattr(leaf, 'init_ofd_connectors'):
            leaf.init_ofd_connectors(self.teacher.model)

    def _arm_early_stop(self, probe: Probe) -> None:
        """Find the last call that anything reads, and let the teacher stop there; or run it whole where that
        is unknown.
        """
        last, beyond = wiring.last_read_call(self._leaves, probe)
        if beyond:
            self.teacher.mode = 'loss'
            warnings.warn(
                "The teacher runs in mode='loss', heads, targets and losses included, at every step, because "
                f'{", ".join(beyond)} '
                "is not reached by a plain forward (mode='tensor'). That can cost many times the time of a "
                'forward.',
                stacklevel=2,
            )
        elif last is not None:
            self.teacher.stop_after(*last)

    def _protect(self, guards: list[RecordGuard], side: str) -> bool:
        """Turn on protection where a record was just changed in place; True if that forward has to be
        repeated.
        """
        repeat = False
        for guard in guards:
            if guard.changed() and not guard.protect:
                guard.protect = repeat = True
                print_log(
                    f'{side}: {guard.recorder.source!r} is changed in place after it was recorded; it is '
                    'protected from now on, and this forward is repeated once.',
                    logger='current',
                )
        return repeat

    def _named_leaves(self) -> Iterator[tuple[str, nn.Module]]:
        names = self.distiller.names if isinstance(self.distiller, ComposedDistiller) else ['']
        return zip([f'{name}.' if name else '' for name in names], self._leaves)

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        if (
            self.teacher.holder() is self
        ):  # .to(), .cuda(), .half(): the teacher follows, unless this is a copy of its holder
            self.teacher.model._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _set_device(self, device: torch.device) -> None:
        if self.teacher.holder() is self:
            self.teacher.model._set_device(device)
        super()._set_device(device)
