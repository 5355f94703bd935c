"""A loss that is no longer a number ends the run."""

import pytest
import torch
from mmengine.hooks import Hook

HOOKS = [dict(type='NonFiniteLossHook')]


class Spoil(Hook):
    """Make a network's weights infinite before an iteration, or right after it."""

    priority = 'VERY_HIGH'

    def __init__(self, at: int, after: bool = False) -> None:
        self.at, self.after = at, after

    def spoil(self, runner) -> None:
        with torch.no_grad():
            runner.model.decode_head.conv_seg.weight.fill_(float('inf'))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at and not self.after:
            self.spoil(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.at and self.after:
            self.spoil(runner)


def test_stops_before_the_checkpoint(tiny_cfg, runs, tmp_path):
    """The message has iteration and losses; the checkpoint of that iteration is not written."""
    cfg = tiny_cfg(iters=8, custom_hooks=HOOKS)
    with pytest.raises(FloatingPointError) as error:
        runs.train(cfg, tmp_path, hooks=(Spoil(3),))
    message = str(error.value)
    assert 'iteration 4' in message and 'decode.loss_ce = nan' in message
    assert 'decode.acc_seg' in message and 'aux.loss_ce' in message
    assert [p.name for p in tmp_path.glob('*.pth')] == ['iter_2.pth']


def test_without_the_message_hub(tiny_cfg, runs, tmp_path):
    """Where RuntimeInfoHook is off, the losses themselves are looked at."""
    cfg = tiny_cfg(iters=8, custom_hooks=HOOKS)
    cfg.default_hooks.update(runtime_info=None, logger=None)
    with pytest.raises(FloatingPointError, match='iteration 2 '):
        runs.train(cfg, tmp_path, hooks=(Spoil(1),))


def test_spoilt_parameters_are_not_written(tiny_cfg, runs, tmp_path):
    """The loss was fine and the step was not (another process's loss, an overflow)."""
    cfg = tiny_cfg(iters=8, custom_hooks=HOOKS)
    with pytest.raises(FloatingPointError, match='decode_head.conv_seg.weight'):
        runs.train(cfg, tmp_path, hooks=(Spoil(3, after=True),))
    assert [p.name for p in tmp_path.glob('*.pth')] == ['iter_2.pth']
