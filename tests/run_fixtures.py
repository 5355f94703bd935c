"""Whole training runs of a tiny network, and a comparison of an interrupted run with a whole
one."""

from __future__ import annotations

import copy
import gc
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import kd_methods  # noqa: F401
from kd_methods.engine.launch import fit_to_device
from kd_methods.engine.runner import WholeRunner
from kd_methods.hooks.signals import Stopped

_numbers = itertools.count()


class _Interrupted(Exception):
    """What ends a run before its time."""


class _Interrupt(Hook):
    priority = 'LOWEST'

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        # After the iteration's checkpoint and validation, when the next batch is there already.
        if runner.iter == self.at:
            raise _Interrupted


def train(
    cfg: Config, work_dir: Path, stop: int | Hook | None = None, resume: bool = False, hooks: tuple = ()
) -> WholeRunner:
    """Train a config in this process.

    Args:
        cfg (Config): With everything that a run needs; it is left as it is.
        work_dir (Path): Where the run writes.
        stop (int | Hook, optional): End the run, as an interruption would, after so many iterations; or a
            hook that sends a signal.
        resume (bool): Go on from the last checkpoint of ``work_dir``. Defaults to False.
        hooks (tuple): Built hooks to register beside those of the config.
    """
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.resume, cfg.launcher = str(work_dir), resume, 'none'
    cfg.experiment_name = f'run{next(_numbers)}'  # message hubs of this process are kept by name
    for kind in (Visualizer, SegLocalVisualizer):  # kept by name too, with the folder of the run before
        kind._instance_dict.clear()
    fit_to_device(cfg)
    runner = WholeRunner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    error = ()
    if stop is not None:
        hook, error = (_Interrupt(stop), _Interrupted) if isinstance(stop, int) else (stop, Stopped)
        runner.register_hook(hook)
    try:
        runner.train()
    except error:
        pass
    else:
        assert stop is None
    # Where the garbage collection ends the workers, it waits for each of them for five seconds.
    for item in gc.get_objects():
        if isinstance(item, _MultiProcessingDataLoaderIter):
            item._shutdown_workers()
    return runner


def differences(whole: dict, other: dict) -> list[str]:
    """Paths of the tensors and numbers in which two nested dicts differ, bit by bit."""
    if isinstance(whole, dict):
        if whole.keys() != other.keys():
            return [f'keys {sorted(map(str, whole.keys() ^ other.keys()))}']
        return [f'{k}.{d}' for k in whole for d in differences(whole[k], other[k])]
    if isinstance(whole, (list, tuple)):
        pairs = enumerate(zip(whole, other))
        return [f'{i}.{d}' for i, (a, b) in pairs for d in differences(a, b)]
    if isinstance(whole, torch.Tensor):
        return [] if torch.equal(whole, other) else ['tensor']
    return [] if whole == other else [f'{whole!r} != {other!r}']


def compare_with_resumed(cfg: Config, folder: Path, stop: int | Hook) -> list[str]:
    """Train a config in one go, and again with a stop and a resumption; where the ends differ.

    Compared are the last checkpoints: weights, optimizer, schedulers, EMA and the states of the
    random number generators.
    """
    last = {}
    train(cfg, folder / 'whole')
    train(cfg, folder / 'parts', stop=stop)
    train(cfg, folder / 'parts', resume=True)
    for name in ('whole', 'parts'):
        path = (folder / name / 'last_checkpoint').read_text()
        last[name] = torch.load(path, weights_only=False)
    parts = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'exact_resume')
    return [
        f'{part}: {d}'
        for part in parts
        for d in differences(last['whole'].get(part, {}), last['parts'].get(part, {}))
    ]


@pytest.fixture(scope='module')
def plain_formatting():
    """mmengine formats the config's text for each checkpoint: most of a tiny run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))
        yield


@pytest.fixture(scope='module')
def runs(plain_formatting) -> SimpleNamespace:
    """`runs.train(cfg, work_dir, stop=None, resume=False)`, `runs.compare_with_resumed(...)`."""
    return SimpleNamespace(train=train, compare_with_resumed=compare_with_resumed)


@pytest.fixture(scope='module')
def tiny_cfg(tiny_config):
    """`tiny_cfg(iters=4, **keys)`: a Config of a tiny run on the scenes, with augmentations."""

    def make(iters: int = 4, model: dict | None = None, **keys) -> Config:
        cfg = Config.fromfile(str(tiny_config(f'hooks{next(_numbers)}', model, iters, **keys)))
        pipeline = cfg.train_dataloader.dataset.pipeline
        pipeline.insert(2, dict(type='PhotoMetricDistortion'))
        cfg.train_dataloader.dataset.pipeline = pipeline
        cfg.default_hooks.checkpoint.update(interval=2)
        return cfg

    return make


@pytest.fixture(scope='module')
def distill_model(tiny_teacher) -> Callable[..., dict]:
    """`distill_model(student)`: a distillation's model with a connector, logits to logits."""

    def make(student: dict) -> dict:
        logits = dict(logits=dict(type='ModuleOutputs', source='decode_head.conv_seg'))
        sides = {
            'preds_S': dict(from_student=True, recorder='logits', connector='adapter'),
            'preds_T': dict(from_student=False, recorder='logits'),
        }
        return dict(
            type='FrozenTeacherDistill',
            architecture=student,
            teacher=dict(cfg_path=str(tiny_teacher.config)),
            teacher_ckpt=str(tiny_teacher.checkpoint),
            distiller=dict(
                type='mmrazor.ConfigurableDistiller',
                student_recorders=logits,
                teacher_recorders=logits,
                connectors=dict(
                    adapter=dict(type='mmrazor.ConvModuleConnector', in_channel=11, out_channel=11)
                ),
                distill_losses=dict(loss_cwd=dict(type='mmrazor.ChannelWiseDivergence')),
                loss_forward_mappings=dict(loss_cwd=sides),
            ),
        )

    return make
