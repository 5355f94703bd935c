"""Hooks of mmengine's runner: what is written, how a run goes on, when it has to stop."""

from mmengine.config import Config

from kd_methods.hooks.bad_data import BadDataHook
from kd_methods.hooks.checkpoint import WholeCheckpointHook
from kd_methods.hooks.exact_resume import ExactResumeHook
from kd_methods.hooks.logged_accuracy import LoggedAccuracyHook
from kd_methods.hooks.non_finite import NonFiniteLossHook
from kd_methods.hooks.signals import StopOnSignalHook
from kd_methods.hooks.student_export import StudentExportHook

__all__ = [
    'BadDataHook',
    'ExactResumeHook',
    'LoggedAccuracyHook',
    'NonFiniteLossHook',
    'StopOnSignalHook',
    'StudentExportHook',
    'WholeCheckpointHook',
    'ensure_hooks',
]

OWN_HOOKS = (
    NonFiniteLossHook,
    StudentExportHook,
    ExactResumeHook,
    BadDataHook,
    StopOnSignalHook,
    LoggedAccuracyHook,
)


def ensure_hooks(cfg: Config) -> Config:
    """Add this package's hooks to ``custom_hooks``, in place, where they are not there yet.

    Args:
        cfg (Config): A training config, with or without distillation.

    Returns:
        Config: ``cfg``.
    """
    hooks = list(cfg.get('custom_hooks') or [])
    for hook in OWN_HOOKS:
        present = [h.get('type') if isinstance(h, dict) else type(h) for h in hooks]
        if hook not in present and hook.__name__ not in present:
            hooks.append(dict(type=hook.__name__))
    cfg.custom_hooks = hooks
    return cfg
