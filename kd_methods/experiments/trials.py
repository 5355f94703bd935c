"""Which trainings a comparison has: arms, seeds, and what each depends on."""

import copy
import hashlib
import inspect
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.distill.channels import keep_order
from kd_methods.networks.config import is_distillation, load_config, resolve_model_cfg
from kd_methods.utils.files import write_file

RECORD = 'run.json'
#: Keys that count iterations or epochs, in parameter schedulers and in schedules of losses.
_IN_SCHEDULERS = ('begin', 'end', 'T_max', 'total_steps', 'step_size')
_LISTS_IN_SCHEDULERS = ('milestones', 'periods')
_IN_LOSS_SCHEDULES = ('begin', 'warmup', 'end', 'decay_begin')
#: What a distillation config has in `model`, and a plain model has not.
_DISTILLATION = set(inspect.signature(FrozenTeacherDistill).parameters) - {'data_preprocessor', 'init_cfg'}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a config with overrides, trained once for each seed.

    Args:
        name (str): In tables and folder names.
        config (str): File of the config, or ``mmseg::...``.
        options (dict): Overrides by dotted key. Those of a teacher or distiller are for distillation configs
            alone: a plain model's leaves them out, so that it can be compared with distilled ones. Defaults
            to none.
        length (float): Factor of the schedule, learning rates and losses included. Defaults to 1.
        teacher (Arm | None): Another arm, whose ``best.pth`` of the same seed is the teacher. Defaults to
            None: the config names its own.
    """

    name: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)
    length: float = 1
    teacher: 'Arm | None' = None

    @cached_property
    def cfg(self) -> Config:
        """The config with its overrides; in a distillation config, both networks as full model dicts."""
        try:
            cfg = load_config(self.config, 'CONFIG')
        except SyntaxError as error:
            raise ValueError(f'CONFIG: {self.config} is not valid Python: {error}') from error
        left_out = set() if is_distillation(cfg) else _DISTILLATION
        of_model = {k: k.split('.')[1] for k in self.options if k.startswith('model.')}
        cfg.merge_from_dict({k: v for k, v in self.options.items() if of_model.get(k) not in left_out})
        for key in ('model', 'train_cfg'):
            if not isinstance(cfg.get(key), dict):
                raise ValueError(f'CONFIG: {self.config} has no `{key}`, which training needs.')
        if is_distillation(cfg):
            for key in ('architecture', 'teacher'):
                cfg.model[key] = resolve_model_cfg(cfg.model[key], f'model.{key}')
        if self.length != 1:
            scale_schedule(cfg, self.length)
        return keep_order(cfg)

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r'[^\w.=+-]+', '_', self.name)

    @property
    def duration(self) -> int:
        """Iterations, or epochs of an epoch-based loop."""
        return self.cfg.train_cfg.get('max_iters') or self.cfg.train_cfg.get('max_epochs')


def scale_schedule(cfg: Config, factor: float) -> None:
    """Make a training longer or shorter in place: its loop, its parameter schedulers, its losses' schedules.

    The intervals of validation and checkpoints stay.

    Raises:
        ValueError: The config has no length that could be scaled.
    """
    loop, scaled = cfg.train_cfg, lambda value: max(1, round(value * factor)) if value else value
    key = next((key for key in ('max_iters', 'max_epochs') if loop.get(key)), None)
    if key is None:
        raise ValueError(f'train_cfg has neither max_iters nor max_epochs to scale. Got: {dict(loop)}')
    loop[key] = scaled(loop[key])
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]:
        for name in _IN_SCHEDULERS:
            if isinstance(scheduler.get(name), (int, float)):
                scheduler[name] = scaled(scheduler[name])
        for name in _LISTS_IN_SCHEDULERS:
            if scheduler.get(name):
                scheduler[name] = [scaled(step) for step in scheduler[name]]

    def scale(schedule: dict) -> None:
        schedule.update({k: scaled(schedule[k]) for k in _IN_LOSS_SCHEDULES if k in schedule})

    def visit(node: Any) -> None:
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            if name == 'schedule' and isinstance(value, dict):
                scale(value)
            elif name == 'loss_schedules':
                for schedule in value.values():
                    scale(schedule)
            elif isinstance(value, (dict, list)):
                visit(value)

    visit((cfg.get('model') or {}).get('distiller') or {})


@dataclass(frozen=True)
class Trial:
    """One training: an arm with a seed.

    Args:
        arm (Arm): What is trained.
        seed (int): Of the run.
        root (Path): Folder of all runs of the comparison.
        test (str): ``'last'`` or ``'best'``, the checkpoint that ``tools/test.py`` tests; ``''``: the last
            validation of the training is the result.
        predictions (bool): Keep what the test predicts, label maps in ``test/predictions``. Defaults to
            False.
    """

    arm: Arm
    seed: int
    root: Path
    test: str = 'last'
    predictions: bool = False

    @property
    def title(self) -> str:
        """For lines of progress."""
        return f'{self.arm.name}, seed {self.seed}'

    @property
    def folder(self) -> Path:
        """Work dir of the training."""
        return self.root / self.arm.slug / f'seed_{self.seed}'

    @property
    def config(self) -> Path:
        """The whole config, as a file that ``tools/train.py`` runs by hand too."""
        return self.folder.with_suffix('.py')

    @cached_property
    def teacher(self) -> 'Trial | None':
        """The training that has to be done before."""
        return self.arm.teacher and replace(self, arm=self.arm.teacher)

    @cached_property
    def cfg(self) -> Config:
        """The arm's config with seed, work dir and teacher."""
        cfg = copy.deepcopy(self.arm.cfg)
        cfg.work_dir = str(self.folder)
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': self.seed}
        if self.teacher:
            cfg.model.teacher_ckpt = str(self.teacher.folder / 'best.pth')
        return cfg

    @cached_property
    def key(self) -> str:
        """Hash of all that the training depends on: config, seed, the teacher's weights."""
        settings = {k: v for k, v in self.cfg.to_dict().items() if k != 'work_dir'}
        model, teacher = dict(settings.get('model') or {}), None
        if self.teacher:
            model.pop('teacher_ckpt'), settings.update(model=model)
            teacher = self.teacher.key
        elif isinstance(model.get('teacher_ckpt'), str) and Path(model['teacher_ckpt']).is_file():
            teacher = hashlib.sha256(Path(model['teacher_ckpt']).read_bytes()).hexdigest()
        text = json.dumps([settings, teacher], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self) -> dict:
        """What the folder says about its last run; empty where that had other settings."""
        path = self.folder / RECORD
        found = json.loads(path.read_text()) if path.is_file() else {}
        return found if found.get('key') == self.key else {}

    def is_done(self) -> bool:
        """Whether the result is there."""
        record = self.record()
        return record.get('done', False) and record['result'] == self.test

    def write_config(self) -> None:
        """Write :attr:`config`."""
        write_file(self.cfg.pretty_text, self.config)


def parse_config(text: str) -> tuple[str, str]:
    """Name and file of ``NAME=FILE`` or ``FILE``.

    Example:
        >>> parse_config('alone=configs/baselines/pspnet_r18_scenes.py'), parse_config('mmseg::a/b.py')
        (('alone', 'configs/baselines/pspnet_r18_scenes.py'), ('b', 'mmseg::a/b.py'))
    """
    name, equals, path = text.partition('=')
    named = equals and '/' not in name  # the folders of a sweep have a = in their names
    return (name, path) if named else (Path(text.split('::')[-1]).stem, text)


def expand(
    configs: Sequence[str],
    settings: Mapping[str, Sequence[Any]] = {},
    lengths: Sequence[float] = (1,),
    options: Mapping[str, Any] = {},
) -> list[Arm]:
    """All arms of a sweep: each config with each combination of settings and each length.

    Args:
        configs (Sequence[str]): ``FILE`` or ``NAME=FILE``.
        settings (Mapping): Values to try, by dotted key.
        lengths (Sequence[float]): Factors of the schedule. Defaults to 1 alone.
        options (Mapping): Overrides of all. Defaults to none.

    Raises:
        ValueError: Two arms have one name.

    Example:
        >>> [arm.name for arm in expand(['kd=a.py'], {'model.distiller.tau': [1, 4]}, lengths=[1, 2])]
        ['kd tau=1', 'kd tau=1 x2', 'kd tau=4', 'kd tau=4 x2']
    """
    last = [key.split('.')[-1] for key in settings]
    short = [name if last.count(name) == 1 else key for key, name in zip(settings, last)]
    arms = []
    for text, values, length in itertools.product(configs, itertools.product(*settings.values()), lengths):
        name, path = parse_config(text)
        said = [f'{key}={_word(value)}' for key, value in zip(short, values)]
        said += [f'x{length:g}'] * (length != 1)
        chosen = {**options, **dict(zip(settings, values))}
        arms.append(Arm(' '.join([name, *said]), path, chosen, length))
    folders = [arm.slug for arm in arms]
    if twice := sorted({arm.name for arm in arms if folders.count(arm.slug) > 1}):
        cure = 'Give configs of one name as NAME=FILE, and each value once.'
        raise ValueError(f'CONFIG: more than one arm is called {", ".join(twice)}. {cure}')
    return arms


def _word(value: Any) -> str:
    return json.dumps(value, default=str).strip('"') if isinstance(value, (dict, list)) else str(value)
