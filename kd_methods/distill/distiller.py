"""Base of the methods' distillers: a short config in, recorders, adapters, losses and mappings out."""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule, ModuleList
from mmengine.registry import MODELS
from mmrazor.models.task_modules import DistillDeliveryManager, RecorderManager
from torch import nn

from kd_methods.distill.grids import Resize
from kd_methods.distill.loss_weights import AutoWeight, LossSchedule
from kd_methods.networks.heads import decode_head
from kd_methods.networks.probe import Probe, format_shape
from kd_methods.networks.taps import Tap, resolve_tap
from kd_methods.utils.errors import naming
from kd_methods.utils.options import Option
from kd_methods.utils.parts import find_type, walk


@MODELS.register_module()
class MethodDistiller(BaseModule):
    """A distiller that is wired by taps, and knows the networks' shapes before it builds its losses.

    It takes the arguments of MMRazor's ``ConfigurableDistiller``, with five additions: recorders given as
    taps (see :mod:`kd_methods.networks.taps`), ground truth as an argument of a loss, schedules, weights
    that find themselves, and maps of different sizes. It can be used from a config as it is:

    .. code-block:: python

        distiller = dict(
            type='MethodDistiller',
            taps=dict(logits='logits'),
            distill_losses=dict(loss_kd=dict(type='mmrazor.KLDivergence', loss_weight='auto')),
            loss_forward_mappings=dict(loss_kd=dict(
                preds_S=dict(recorder='logits', from_student=True),
                preds_T=dict(recorder='logits', from_student=False))),
            loss_schedules=dict(loss_kd=dict(warmup=500)))

    A method gives its taps to ``super().__init__`` and overrides :meth:`configure`, which knows both
    networks:

    .. code-block:: python

        def configure(self, student, teacher):
            self.add_loss('loss_mine', dict(type='MyLoss', channels=teacher['feature'].channels),
                          feat_S=self.from_student('feature'), feat_T=self.from_teacher('feature'),
                          label=dict(from_data='gt_sem_seg'))

    Args:
        taps (dict[str, str | dict] | None): Taps by name, for both networks alike or ``dict(student=...,
            teacher=...)``. Each becomes a recorder of that name for each network. Defaults to None.
        student_recorders (dict | None): MMRazor recorders besides the taps. Defaults to None.
        teacher_recorders (dict | None): Likewise for the teacher. Defaults to None.
        distill_deliveries (dict | None): MMRazor deliveries. Defaults to None.
        connectors (dict | None): Adapters by name. Defaults to None.
        distill_losses (dict | None): Loss configs by name; the names contain "loss". A ``loss_weight`` may be
            ``'auto'`` or ``dict(type='auto', ratio=0.3, iters=100)``. Defaults to None.
        loss_forward_mappings (dict | None): For each loss, where each argument of its ``forward`` comes from:
            ``dict(recorder=..., from_student=..., connector=...)`` or ``dict(from_data='gt_sem_seg')``.
            Defaults to None.
        loss_schedules (dict | None): :class:`LossSchedule` settings by loss name. Defaults to None.
        resize (str): Where two maps that a loss compares place by place have different sizes, whose is
            resized to the other's: ``'student'``, ``'teacher'``, or ``'never'``, which refuses them
            (:class:`~kd_methods.distill.grids.GridRule`). Defaults to ``'student'``.
        init_cfg (dict | None): Initialisation. Defaults to None.
    """

    def __init__(
        self,
        taps: Mapping[str, str | Mapping] | None = None,
        student_recorders: dict | None = None,
        teacher_recorders: dict | None = None,
        distill_deliveries: dict | None = None,
        connectors: dict | None = None,
        distill_losses: dict | None = None,
        loss_forward_mappings: dict | None = None,
        loss_schedules: dict | None = None,
        resize: Resize = 'student',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.resize = check_resize(resize)
        self.taps = {name: self._tap_pair(name, tap) for name, tap in (taps or {}).items()}
        self.config: Mapping = {}  # what it was built from
        self.student_taps: dict[str, Tap] = {}
        self.teacher_taps: dict[str, Tap] = {}
        with mmrazor_scope():
            self.student_recorders = RecorderManager(student_recorders)
            self.teacher_recorders = RecorderManager(teacher_recorders)
            self.deliveries = DistillDeliveryManager(distill_deliveries)
        self.connectors, self.distill_losses = nn.ModuleDict(), nn.ModuleDict()
        self._connector_cfgs = dict(connectors or {})
        self._loss_cfgs = {name: dict(cfg) for name, cfg in (distill_losses or {}).items()}
        self.loss_forward_mappings = {name: dict(m) for name, m in (loss_forward_mappings or {}).items()}
        self.loss_schedules = dict(loss_schedules or {})
        self.auto_weights: dict[str, AutoWeight] = {}
        self.student_network: nn.Module | None = None
        self.teacher_network: nn.Module | None = None

    def configure(self, student: dict[str, Tap], teacher: dict[str, Tap]) -> None:
        """Add adapters and losses that depend on the networks; methods override this.

        ``self.student_network`` and ``self.teacher_network`` are set (during this call only).

        Args:
            student (dict[str, Tap]): The student's taps by name, with shapes found in the dry run.
            teacher (dict[str, Tap]): The teacher's.
        """

    def add_loss(self, name: str, cfg: dict, schedule: dict | None = None, **mapping: dict) -> None:
        """Declare a loss and where each argument of its ``forward`` comes from.

        Args:
            name (str): Its name, with "loss" in it.
            cfg (dict): Config of the loss module.
            schedule (dict | None): Its :class:`LossSchedule`. Defaults to None.
            **mapping (dict): Argument name to :meth:`from_student`, :meth:`from_teacher` or
                ``dict(from_data=...)``.
        """
        self._loss_cfgs[name] = dict(cfg)
        self.loss_forward_mappings[name] = mapping
        if schedule is not None:
            self.loss_schedules[name] = schedule

    def from_student(self, tap: str, connector: str | None = None) -> dict:
        """Mapping entry: the student's record of a tap, adapted by a connector if one is named."""
        return dict(recorder=tap, from_student=True, **(dict(connector=connector) if connector else {}))

    def from_teacher(self, tap: str, connector: str | None = None) -> dict:
        """Mapping entry: the teacher's record of a tap, adapted by a connector if one is named."""
        return dict(recorder=tap, from_student=False, **(dict(connector=connector) if connector else {}))

    def num_classes(self) -> int:
        """Number of classes of the student's decode head (to be called in :meth:`configure`).

        Raises:
            ValueError: The student has none.
        """
        head = decode_head(self.student_network)
        if not hasattr(head, 'num_classes'):
            why = f'the student is a {type(self.student_network).__name__}.'
            raise ValueError(f'distiller: {type(self).__name__} needs a segmentor with a decode_head, {why}')
        return head.num_classes

    def check_channels(self, name: str, tap: str, side: str, given: int | None) -> int:
        """Channels of a tap, which a number given in the config must agree with."""
        found = getattr(self, f'{side}_taps')[tap].channels
        if given is not None and given != found:
            shapes = f'Tap shapes: {self.describe_taps()}. Leave {name} out: it is found by itself.'
            but = f'but tap {tap!r} of the {side} has {found} channels'
            raise ValueError(f'distiller.{name}={given}, {but}. {shapes}')
        return found

    def describe_taps(self) -> str:
        """All taps with the shapes of both networks, in one line."""
        pairs = ((name, tap.shape, self.teacher_taps[name].shape) for name, tap in self.student_taps.items())
        return '; '.join(f'{n}: student {format_shape(s)}, teacher {format_shape(t)}' for n, s, t in pairs)

    def prepare(self, student: Probe, teacher: Probe, key: str = 'distiller') -> None:
        """Resolve the taps in both networks, and build adapters and losses; the algorithm calls this once."""
        for side, probe, taps in (
            ('student', student, self.student_taps),
            ('teacher', teacher, self.teacher_taps),
        ):
            for name, pair in self.taps.items():
                where = self._tap_key(key, name, side)
                taps[name] = resolve_tap(probe, pair[side], where, self._by_call(name, side == 'student'))
        # Not by assignment, which would make the networks sub-modules.
        self.__dict__.update(student_network=student.model, teacher_network=teacher.model)
        try:
            self.configure(self.student_taps, self.teacher_taps)
        finally:
            self.__dict__.update(student_network=None, teacher_network=None)
        with mmrazor_scope():
            self._build(key)

    def _build(self, key: str) -> None:
        """Build what the configs say, after :meth:`configure` has added to them."""
        cfgs = copy.deepcopy(self._loss_cfgs)
        self.auto_weights = take_auto_weights(cfgs, key)
        for name, cfg in self._connector_cfgs.items():
            several = isinstance(cfg, (list, tuple))
            self.connectors[name] = nn.Sequential(*map(MODELS.build, cfg)) if several else MODELS.build(cfg)
        for name, cfg in cfgs.items():
            self.distill_losses[name] = MODELS.build(cfg)

    def _by_call(self, tap: str, student: bool) -> bool:
        """Whether all that reads a tap says which call of its module it means (``record_idx``)."""
        entries = [entry for mapping in self.loss_forward_mappings.values() for entry in mapping.values()]
        reads = [e for e in entries if e.get('recorder') == tap and bool(e.get('from_student')) == student]
        return bool(reads) and all(e.get('record_idx') is not None for e in reads)

    def _tap_key(self, key: str, name: str, side: str) -> str:
        """Where the config names a tap."""
        keys = [k for k, value in walk(self.config, key) if value == self.taps[name][side] and k != key]
        return next((k for k in keys if side in k), keys[0] if keys else f'{key}.taps.{name}')

    @staticmethod
    def _tap_pair(name: str, tap: str | Mapping) -> dict[str, str]:
        if isinstance(tap, str):
            return dict(student=tap, teacher=tap)
        if isinstance(tap, Mapping) and set(tap) == {'student', 'teacher'}:
            return dict(tap)
        form = 'a tap for both networks or dict(student=..., teacher=...)'
        raise TypeError(f'distiller.taps.{name}: give {form}, got {tap!r}.')


@MODELS.register_module()
class ComposedDistiller(BaseModule):
    """Several distillers on one pass of the teacher.

    Args:
        distillers (list[dict] | dict[str, dict]): Their configs. With a dict, each loss is logged under its
            distiller's name, ``distill.<name>.<loss>``; with a list under its own, which must then be unique.
    """

    def __init__(self, distillers: Sequence[dict] | dict[str, dict]) -> None:
        super().__init__()
        named = isinstance(distillers, Mapping) and 'type' not in distillers
        listed = isinstance(distillers, Sequence) and not isinstance(distillers, str)
        if not (named or listed) or not distillers:
            what = 'a non-empty list or dict of distiller configs'
            raise TypeError(f'distiller.distillers: expected {what}, got {distillers!r}.')
        cfgs = list(distillers.values()) if named else list(distillers)
        self.names: list[str] = list(distillers) if named else [''] * len(cfgs)
        self.distillers = ModuleList(  # mmengine's: it initialises its members
            build_distiller(cfg, f'distiller.distillers.{name or i}')
            for i, (cfg, name) in enumerate(zip(cfgs, self.names))
        )


def build_distiller(cfg: dict, key: str = 'distiller') -> nn.Module:
    """Build a distiller; MMRazor's assertions about its config become errors that name the key."""
    if isinstance(cfg, nn.Module):
        return cfg
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        types = 'I2CKDDistiller, MethodDistiller, mmrazor.ConfigurableDistiller, ...'
        raise TypeError(f'{key}: expected a dict with a type ({types}), got {cfg!r}.')
    cfg = copy.deepcopy(cfg)
    auto = {}
    with mmrazor_scope():
        cls = find_type(key, cfg, MODELS)
    stock = not (isinstance(cls, type) and issubclass(cls, (MethodDistiller, ComposedDistiller)))
    resize = check_resize(cfg.pop('resize', 'student'), key) if stock else 'student'
    if stock and isinstance(cfg.get('distill_losses'), Mapping):
        auto = take_auto_weights(cfg['distill_losses'], key)
    with naming(key, cfg), mmrazor_scope() if stock else contextlib.nullcontext():
        distiller = MODELS.build(cfg)
    if isinstance(distiller, MethodDistiller):
        distiller.config = cfg
    if stock:
        distiller.auto_weights, distiller.resize = auto, resize
    return distiller


def check_resize(resize: Any, key: str = 'distiller') -> Any:
    """A distiller's option ``resize``, if it is one of its choices."""
    Option.read(Resize).check(key, 'resize', resize)
    return resize


def mmrazor_scope() -> contextlib.AbstractContextManager:
    """Look types up as MMRazor's, then as the root registry's, where this project's are."""
    return MODELS.switch_scope_and_registry('mmrazor')


def take_auto_weights(losses: dict[str, dict], key: str) -> dict[str, AutoWeight]:
    """Take each ``loss_weight='auto'`` out of the configs, in place; return the modules that find them."""
    found = {}
    for name, cfg in losses.items():
        weight = cfg.get('loss_weight') if isinstance(cfg, Mapping) else None
        options = AutoWeight.parse(weight, f'{key}.distill_losses.{name}.loss_weight')
        if options is not None:
            found[name] = AutoWeight(**options)
            del cfg['loss_weight']  # not every loss has one; its own scale cancels out
    return found


def parse_schedules(distiller: nn.Module, key: str) -> dict[str, LossSchedule]:
    """The schedules of a distiller's losses, checked."""
    schedules = getattr(distiller, 'loss_schedules', {})
    unknown = sorted(set(schedules) - set(distiller.distill_losses.keys()))
    if unknown:
        known = sorted(distiller.distill_losses.keys())
        raise KeyError(f'{key}.loss_schedules: no loss {unknown}; distill_losses has {known}.')
    return {name: LossSchedule.parse(cfg, f'{key}.loss_schedules.{name}') for name, cfg in schedules.items()}
