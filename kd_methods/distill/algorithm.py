"""One training step of distillation: teacher, student, losses."""

import contextlib
import logging
import warnings
import weakref
from collections.abc import Collection, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from kd_methods.distill.arguments import check_arguments
from kd_methods.distill.channels import channel_layout
from kd_methods.distill.check_connection import check_names, check_shapes
from kd_methods.distill.connection import Connection, StepRecords, build_recorder, recording
from kd_methods.distill.distiller import ComposedDistiller, build_distiller
from kd_methods.distill.inherit import inherit_parts, parts_to_inherit
from kd_methods.distill.labels import LABEL, Labels, LabelSource
from kd_methods.distill.loss_weights import LossWeights, fixed_weight, statistic_name, sum_losses
from kd_methods.distill.preprocess import let_transfers_overlap, pair_preprocessors, teachers_images
from kd_methods.distill.proof import TeachingProof
from kd_methods.distill.teacher import FrozenTeacher
from kd_methods.distill.teacher_cache import TeacherCache, identity_of
from kd_methods.distill.unused_parameters import UnusedParameterTie
from kd_methods.networks.config import build_network
from kd_methods.networks.probe import dry_run_sizes, probe_networks
from kd_methods.networks.recording import Records
from kd_methods.utils.errors import naming


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
        teacher_ckpt (str | None): The teacher's weights: file or http(s) address. Defaults to None, with a
            warning.
        teacher_ckpt_trusted (bool): Allow this file to hold arbitrary Python objects. Defaults to False.
        teacher_precision (str): ``'same'``, ``'fp32'``, ``'bf16'`` or ``'fp16'``. Defaults to ``'same'``.
        teacher_fold_bn (bool): Compute the teacher's batch norms with the convolutions before them; the same
            to rounding, and faster. Its weights stay as they are. Defaults to False.
        teacher_channels_last (bool): Run the teacher in torch's memory format ``channels_last``, which many
            CPUs and GPUs compute faster, above all in bf16. Defaults to False.
        compile_teacher (bool): ``torch.compile`` of the teacher between its taps; what torch cannot compile
            runs as it is. Takes a minute at the start. Defaults to False.
        cache_teacher (str | dict | None): A folder, or ``dict(folder=..., half=False)``, in which the
            teacher's records are kept by sample: it runs once on each. The training data has to be wrapped in
            :class:`~kd_methods.datasets.variants.SeededVariants`. Defaults to None.
        student_channels_last (bool): Likewise ``channels_last`` for the student, in training. Defaults to
            False.
        teacher_preprocessor (str): ``'own'`` gives the teacher what its own preprocessor makes of the raw
            images, ``'student'`` the student's input. Defaults to ``'own'``.
        inputs (dict | None): Which channels of the images each network sees, where these differ:
            ``dict(channels=dict(rgb=3, x=1), student='rgb', teacher=['rgb', 'x'])``, of which the last two
            are the default (:class:`~kd_methods.distill.channels.ChannelLayout`). Defaults to None.
        inherit (str | Sequence[str] | None): Parts that the student takes over from the teacher when weights
            are initialised, such as ``('neck', 'bbox_head')``, or ``'all_but_backbone'``. Defaults to None.
        labels (str): What losses that need labels take (I2CKD, PDD, DWLD, all that map ``gt_sem_seg``): the
            ``'truth'``, the predictions of the ``'teacher'``, or ``'truth+teacher'``, the teacher's where
            the truth has none, as in images without labels. The task loss always takes the truth. Defaults to
            ``'truth'``.
        label_confidence (float): Probability from which on a prediction of the teacher is a label. Defaults
            to 0.9.
        calculate_student_loss (bool): Whether the task loss counts. Defaults to True.
        student_trainable (bool): False trains the distiller's own layers alone. Defaults to True.
        teacher_trainable (bool): Only False.
        teacher_norm_eval (bool): Only True.
        dry_run_size (tuple[int, int] | None): Height and width of the dry run that finds the shapes. Defaults
            to None: (128, 128), or ``size`` of the data_preprocessor (else the crop of ``test_cfg``) where
            that is smaller, or where a network does not run on (128, 128).
        data_preprocessor (dict | nn.Module | None): The student's; defaults to the one of ``architecture``.
        init_cfg (dict | None): Initialisation. Defaults to None.
        module_inplace, teacher_module_inplace (bool): Taken for MMRazor's configs, without effect: in-place
            layers stay as they are, and records are protected where one would change them.
    """

    def __init__(
        self,
        architecture: dict | BaseModel | None = None,
        teacher: dict | BaseModel | None = None,
        distiller: dict | nn.Module | None = None,
        teacher_ckpt: str | None = None,
        teacher_ckpt_trusted: bool = False,
        teacher_precision: str = 'same',
        teacher_fold_bn: bool = False,
        teacher_channels_last: bool = False,
        compile_teacher: bool = False,
        cache_teacher: str | dict | None = None,
        student_channels_last: bool = False,
        teacher_preprocessor: str = 'own',
        inputs: dict | None = None,
        inherit: str | Sequence[str] | None = None,
        labels: str = 'truth',
        label_confidence: float = 0.9,
        calculate_student_loss: bool = True,
        student_trainable: bool = True,
        teacher_trainable: bool = False,
        teacher_norm_eval: bool = True,
        dry_run_size: tuple[int, int] | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
        module_inplace: bool = False,
        teacher_module_inplace: bool = False,
        **unknown: Any,
    ) -> None:
        check_arguments(locals(), unknown)
        cache = TeacherCache.of(cache_teacher)
        student = build_network(architecture, 'model.architecture')
        teacher_network = build_network(teacher, 'model.teacher')
        if teacher_network is student:
            cure = 'Give a copy or its config.'
            raise ValueError(f'model.teacher is the very network of model.architecture. {cure}')
        fast = (teacher_fold_bn, teacher_channels_last, compile_teacher)
        frozen = FrozenTeacher(teacher_network, teacher_precision, *fast)
        if data_preprocessor is None:
            data_preprocessor = student.data_preprocessor
        elif isinstance(data_preprocessor, dict):
            with naming('model.data_preprocessor', data_preprocessor):
                data_preprocessor = MODELS.build(data_preprocessor)
        sizes = [dry_run_size] if dry_run_size else dry_run_sizes(data_preprocessor, student, teacher_network)
        layout = channel_layout(inputs, student, teacher_network, teacher_preprocessor)
        if teacher_preprocessor == 'own':
            data_preprocessor = pair_preprocessors(data_preprocessor, frozen.model.data_preprocessor, layout)
        let_transfers_overlap(data_preprocessor)
        super().__init__(data_preprocessor, init_cfg)
        self.architecture = student
        self.teacher = frozen
        frozen.holder = weakref.ref(self)
        self.teacher_ckpt = teacher_ckpt
        self.cache = cache
        self.inherit = parts_to_inherit(inherit, student, teacher_network)
        self.calculate_student_loss = calculate_student_loss
        self.student_trainable = student_trainable
        self.student_channels_last = student_channels_last
        self.distillation_stopped = False
        if student_channels_last:
            student.to(memory_format=torch.channels_last)
        if not student_trainable:
            student.requires_grad_(False)
        if teacher_ckpt:
            report = frozen.load(teacher_ckpt, teacher_ckpt_trusted)
            print_log(f'Teacher weights from {teacher_ckpt}: {report}', logger='current')
        else:
            message = 'the teacher has only what its init_cfg loads, or random weights.'
            warnings.warn(f'model.teacher_ckpt is not set: {message}', stacklevel=2)
        self.distiller = build_distiller(distiller, 'model.distiller')
        self._connect(sizes, labels, label_confidence)
        if not (student_trainable or any(p.requires_grad for p in self.distiller.parameters())):
            nothing = 'leaves nothing to train: this distiller has no layers.'
            raise ValueError(f'model.student_trainable=False {nothing}')
        self.tie = UnusedParameterTie()
        self.proof = TeachingProof(name for name, weight in self.weights.base.items() if weight)

    @property
    def student(self) -> BaseModel:
        """The network that is trained."""
        return self.architecture

    def named_distillers(self) -> dict[str, nn.Module]:
        """The distillers, without a composition around them, by name (a number where they have none)."""
        composed = isinstance(self.distiller, ComposedDistiller)
        parts = self.distiller.distillers if composed else [self.distiller]
        names = self.distiller.names if composed else ['']
        return {name or str(i): part for i, (name, part) in enumerate(zip(names, parts))}

    def forward(
        self,
        inputs: Tensor,
        data_samples: list | None = None,
        mode: str = 'tensor',
        teacher_inputs: Tensor | None = None,
    ) -> Any:
        """Losses of a training step (``mode='loss'``), or what the student gives in another mode."""
        if mode != 'loss':
            return self.architecture(inputs, data_samples, mode=mode)
        if torch.compiler.is_compiling() and (self.proof.open or not self.weights.settled):
            # Gradients are measured at taps, to which a compiled graph has no path: not this step.
            return torch.compiler.disable(self.loss)(inputs, data_samples, teacher_inputs)
        return self.loss(inputs, data_samples, teacher_inputs)

    def loss(
        self, inputs: Tensor, data_samples: list | None = None, teacher_inputs: Tensor | None = None
    ) -> dict[str, Any]:
        """All losses of one batch, ``student.*`` and ``distill.*``, and one iteration on."""
        return self.finish(self.losses(self.record(inputs, data_samples, teacher_inputs)))

    def record(
        self,
        inputs: Tensor,
        data_samples: list | None = None,
        teacher_inputs: Tensor | None = None,
        every: bool = False,
    ) -> StepRecords:
        """Run both networks on a preprocessed batch, and record what the losses read.

        Args:
            inputs (Tensor): The student's images, (N, C, H, W).
            data_samples (list | None): Their annotations. Defaults to None.
            teacher_inputs (Tensor | None): The teacher's images. Defaults to None: the student's.
            every (bool): Record although no loss counts at this iteration. Defaults to False.
        """
        step = StepRecords(dict(inputs=inputs, data_samples=data_samples))
        with contextlib.ExitStack() as stack:
            if every or self.active_losses():
                seen = inputs if teacher_inputs is None else teacher_inputs
                step.teacher = self.teach(seen, data_samples)
                if self.labels is not None:
                    step.data[LABEL] = self.labels(step.teacher, step.data)
                step.student = stack.enter_context(recording(self.connections, 'student', self.recorder))
            trained = self.student_trainable and torch.is_grad_enabled()
            stack.enter_context(torch.set_grad_enabled(trained))
            if self.student_channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            step.task = self.student(inputs, data_samples, mode='loss')
        return step

    def teach(self, inputs: Tensor, data_samples: list | None = None) -> Records:
        """What the teacher says of its images: from the cache where there is one, and it knows them."""

        def run(images: Tensor, samples: list | None) -> Records:
            watched = recording(self.connections, 'teacher', self.teacher.recorder)
            return self.teacher.run(images, samples, watched)

        if self.cache is None:
            return run(inputs, data_samples)
        self.check_cache()
        return self.cache(inputs, data_samples, run)

    def check_cache(self) -> None:
        """Refuse a cache of another teacher's records, once, when the weights are there."""
        if self.cache is not None and not self.cache.ready:
            teacher = self.teacher
            how = {name: getattr(teacher, name) for name in ('precision', 'fold_bn', 'channels_last')}
            places = teacher.recorder.places
            taps = sorted((place, calls and sorted(calls)) for place, calls in places.items())
            images = teachers_images(self.data_preprocessor)
            self.cache.check(identity_of(teacher.model, **how, taps=taps, images=images))

    def losses(self, step: StepRecords, names: Collection[str] | None = None) -> dict[str, Any]:
        """All losses of a recorded step, weighted as they count at this iteration, and what is logged.

        Args:
            step (StepRecords): The step, with a pass of the teacher where a loss is computed.
            names (Collection[str] | None): Distillation losses to compute. Defaults to None, all that count.
        """
        losses: dict[str, Any] = {}
        if self.calculate_student_loss:
            losses.update({f'student.{name}': value for name, value in step.task.items()})
        names = self.active_losses() if names is None else names
        if names:
            task = sum_losses(step.task) if self.calculate_student_loss else None
            for name, value in self.distill_losses(step, names).items():
                scaled = self._scale(name, value, task, step)
                losses.update({f'distill.{key}': figure for key, figure in scaled.items()})
        for name in self.weights.idle():  # else the log would keep showing the last weight that it had
            losses[f'distill.{statistic_name(name, "weight")}'] = step.data['inputs'].new_zeros(())
        return losses

    def finish(self, losses: dict[str, Any]) -> dict[str, Any]:
        """Let go of the records, count a training step, and tie parameters that its losses do not reach
        (``UnusedParameterTie``).
        """
        for connection in self.connections:
            connection.clear()
        if self.training and torch.is_grad_enabled():
            kind = tuple(self.active_losses()), self.calculate_student_loss
            self.weights.advance()
            losses = self.tie(losses, self, kind)
        return losses

    def distill_losses(self, step: StepRecords, names: Collection[str]) -> dict[str, Tensor]:
        """Distillation losses of a recorded step by name, without schedules and weights that are found.

        A distiller that computes in another way may add values that are no losses of the config.
        """
        values: dict[str, Tensor] = {}
        for c in self.connections:
            computed = c.compute([name for name in c.losses.keys() if c.name + name in names], step)
            values.update({c.name + name: value for name, value in computed.items()})
        return {n: v for n, v in values.items() if n in names or n not in self.weights.base}

    def active_losses(self) -> list[str]:
        """Names of the distillation losses that count at this iteration."""
        return [] if self.distillation_stopped else self.weights.active()

    def init_weights(self) -> None:
        """Initialise the student (also from the teacher), the adapters, and a teacher without checkpoint."""
        if not self.teacher_ckpt:
            self.teacher.model.init_weights()
            self.teacher.check_finite('model.teacher.init_cfg')
        self.check_cache()
        super().init_weights()
        inherit_parts(self.inherit, self.student, self.teacher.model)
        for connection in self.connections:
            connection.init_weights()

    def train(self, mode: bool = True) -> 'FrozenTeacherDistill':
        """Switch to training; a student that is not trained stays in eval mode, batch statistics included."""
        super().train(mode)
        if not self.student_trainable:
            self.architecture.eval()
        return self

    def _scale(self, name: str, value: Tensor, task: Tensor | None, step: StepRecords) -> dict[str, Tensor]:
        """A loss with its schedule and the weight that is found, and its statistics, all by name."""
        if name not in self.weights.base:
            return {name: value}
        connection = self.owners[name]
        loss = name.removeprefix(connection.name)
        taps = connection.student_tensors(loss, step)
        scaled = self.weights.scale(name, value, task, taps)
        teaching = self.student_trainable and self.training and torch.is_grad_enabled()
        if teaching and name in self.proof.open and self.weights.factor(name):
            self.proof(name, scaled[name], taps, connection.places_of(loss))
        statistics = getattr(connection.losses[loss], 'stats', {})
        logged = {statistic_name(name, key): figure for key, figure in statistics.items()}
        return {**scaled, **logged}

    def _connect(self, sizes: Sequence[tuple[int, int]], labels: Labels, confidence: float) -> None:
        """Dry-run both networks, build the distillers on what was found, check them, and place the hooks."""
        networks = dict(student=self.student, teacher=self.teacher.model)
        self.probes = probe_networks(networks, sizes)
        for probe in filter(lambda probe: probe.error, self.probes):
            print_log(f'What comes later is not checked: {probe.failure}.', 'current', logging.WARNING)
        composed = isinstance(self.distiller, ComposedDistiller)
        self.connections: list[Connection] = []
        self.owners: dict[str, Connection] = {}
        schedules, auto = {}, {}
        for name, distiller in self.named_distillers().items():
            key = f'model.distiller.distillers.{name}' if composed else 'model.distiller'
            prefix = f'{name}.' if composed and name in self.distiller.names else ''
            connection = Connection(prefix, distiller, *self.probes, key)
            check_names(connection)
            connection.connect()
            check_shapes(connection)
            for loss in connection.losses.keys():
                if prefix + loss in self.owners:
                    cure = 'Give model.distiller.distillers as a dict, whose keys tell them apart.'
                    raise ValueError(f'{key}: two distillers have a loss {loss!r}. {cure}')
                self.owners[prefix + loss] = connection
            schedules.update({prefix + n: s for n, s in connection.schedules.items()})
            auto.update({prefix + n: a for n, a in connection.auto_weights.items()})
            self.connections.append(connection)
        if auto and not (self.calculate_student_loss and self.student_trainable):
            what = f"loss_weight='auto' of {sorted(auto)} is measured against the task loss"
            but = 'but calculate_student_loss=False or student_trainable=False. Give a number.'
            raise ValueError(f'model.distiller: {what}, {but}')
        base = {n: fixed_weight(c.losses[n.removeprefix(c.name)]) for n, c in self.owners.items()}
        self.weights = LossWeights(base, schedules, auto)
        beyond = [text for connection in self.connections for text in connection.beyond()]
        if beyond:
            if self.cache is not None:
                only = 'keeps what modules return, and not'
                raise ValueError(f'model.cache_teacher {only} {", ".join(beyond)}. Leave the cache out.')
            self.teacher.mode = 'loss'
            what = "The teacher runs in mode='loss', heads, targets and losses included, at every step"
            why = f"{', '.join(beyond)} is not reached by a plain forward (mode='tensor')"
            warnings.warn(f'{what}, because {why}. That can cost many times a forward.', stacklevel=2)
        self.labels = None if labels == 'truth' else LabelSource(labels, confidence, *self.probes[::-1])
        read = [self.labels.tap] if self.labels else []
        self.recorder = build_recorder(self.connections, 'student')
        self.teacher.recorder = build_recorder(self.connections, 'teacher', stop=not beyond, others=read)

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        # .to(), .cuda(), .half(): torch calls this. The teacher follows, unless this is a copy of its holder.
        if self.teacher.holder() is self:
            self.teacher.model._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _set_device(self, device: torch.device) -> None:
        # mmengine's: the device that preprocessors move data to
        if self.teacher.holder() is self:
            self.teacher.model._set_device(device)
        super()._set_device(device)
