"""Pixel accuracy of the student, computed where somebody reads it."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS
from torch import Tensor

#: Where mmseg has its ``accuracy``, and the modules whose heads call it under their own name.
ORIGINAL = 'mmseg.models.losses'
HEADS = tuple(
    f'mmseg.models.decode_heads.{name}' for name in ('decode_head', 'pid_head', 'ddr_head', 'point_head')
)


@HOOKS.register_module()
class LoggedAccuracyHook(Hook):
    """Let mmseg's heads compute ``acc_seg`` in the iterations alone whose values are logged.

    The heads of mmseg sort the logits of all pixels and count those with a label in each step: on a small
    student a tenth of the step, and on a GPU a wait for the device (``nonzero``). The log shows the value of
    its own iteration, so what is logged is the same; in all other iterations the value is NaN, which nothing
    adds up. Where the log averages accuracies (``log_processor.mean_pattern`` or ``custom_cfg``), they are
    computed in each iteration.

    Args:
        always (bool): Compute it in each iteration, as mmseg does. Defaults to False.
    """

    priority = 'VERY_HIGH'

    def __init__(self, always: bool = False) -> None:
        self.always = always
        self._wanted = True

    def before_train(self, runner) -> None:
        """Take the place of the heads' function."""
        log = runner.log_processor
        averaged = log.mean_pattern.match('train/decode.acc_seg') or any(
            'acc' in str(entry.get('data_src')) for entry in log.custom_cfg
        )
        if self.always or averaged:
            return
        for module in _loaded():
            module.accuracy = self.accuracy

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Find out whether this iteration is logged."""
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._wanted = any(_logs(hook, runner, batch_idx) for hook in loggers)

    def after_train(self, runner) -> None:
        """Give the function back."""
        self.give_back()

    def give_back(self) -> None:
        """Give the function back, also where a training fails."""
        for module in _loaded():
            module.accuracy = sys.modules[ORIGINAL].accuracy

    def accuracy(
        self,
        pred: Tensor,
        target: Tensor,
        topk: int | tuple[int, ...] = 1,
        thresh: float | None = None,
        ignore_index: int | None = None,
    ) -> Tensor | list[Tensor]:
        """As mmseg's function, or NaN."""
        if self._wanted:
            return sys.modules[ORIGINAL].accuracy(pred, target, topk, thresh, ignore_index)
        nothing = pred.new_full((1,), torch.nan)
        return [nothing] * len(topk) if isinstance(topk, Sequence) else nothing


def _loaded() -> list[Any]:
    return [sys.modules[name] for name in HEADS if name in sys.modules]


def _logs(hook: LoggerHook, runner: Any, batch_idx: int) -> bool:
    if hook.every_n_inner_iters(batch_idx, hook.interval):
        return True
    loader = runner.train_dataloader
    return hook.end_of_epoch(loader, batch_idx) and (not hook.ignore_last or len(loader) <= hook.interval)
