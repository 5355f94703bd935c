"""Sizes for a trial of the demo's machinery: nothing is learnt in so few steps."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from kd_methods.networks.config import is_distillation

SCENES = dict(train=16, val=4, size=32)
ITERATIONS = 4
BATCH = 4


def quick_options(cfg: Config) -> dict[str, Any]:
    """Overrides that turn a config's schedule and preprocessing into tiny ones, whatever they are."""
    iterations, size = ITERATIONS, SCENES['size']
    options: dict[str, Any] = {
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': iterations // 2,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': iterations // 2,
        'train_dataloader.batch_size': BATCH,
    }
    share = iterations / cfg.train_cfg.max_iters
    for number, scheduler in enumerate(cfg.param_scheduler):
        for key in ('begin', 'end', 'T_max', 'total_steps'):
            if scheduler.get(key):
                options[f'param_scheduler.{number}.{key}'] = max(1, round(scheduler[key] * share))
    for network in ('architecture', 'teacher') if is_distillation(cfg) else ('',):
        options['.'.join(filter(None, ('model', network, 'data_preprocessor.size')))] = f'({size},{size})'
    return options
