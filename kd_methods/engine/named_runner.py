"""A Runner whose errors name the config key of what was being built."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from mmengine.runner import Runner

from kd_methods.utils.errors import naming

#: mmengine's methods and the key that each of them builds.
BUILDS = dict(
    setup_env='env_cfg',
    set_randomness='randomness',
    build_log_processor='log_processor',
    build_logger='log_level',
    build_visualizer='visualizer',
    build_model='model',
    wrap_model='model_wrapper_cfg',
    register_default_hooks='default_hooks',
    register_custom_hooks='custom_hooks',
    build_train_loop='train_cfg',
    build_val_loop='val_cfg',
    build_test_loop='test_cfg',
    build_optim_wrapper='optim_wrapper',
    scale_lr='auto_scale_lr',
    build_param_scheduler='param_scheduler',
    build_dataloader='{}_dataloader',
    build_evaluator='{}_evaluator',
)


class NamedRunner(Runner):
    """mmengine's ``Runner``; an error in a part of it comes as ``ValueError`` after its config key."""

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call all hooks; some build what they are given only before a run."""
        with (
            naming('custom_hooks', self.cfg.get('custom_hooks')) if fn_name == 'before_run' else nullcontext()
        ):
            super().call_hook(fn_name, **kwargs)

    def _split(self, key: str, cfg: Any) -> str:
        splits = [s for s in ('train', 'val', 'test') if self.__dict__.get(f'_{key.format(s)}') is cfg]
        return key.format(*splits[:1] or ('a',))


def _named(method: str, key: str) -> Callable:
    @functools.wraps(getattr(Runner, method))
    def build(self: NamedRunner, *args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        with naming(self._split(key, given[0] if given else None), given[0] if given else None):
            return getattr(super(NamedRunner, self), method)(*args, **kwargs)

    return build


for _method, _key in BUILDS.items():
    setattr(NamedRunner, _method, _named(_method, _key))
