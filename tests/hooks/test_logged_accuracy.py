"""The student's pixel accuracy is computed in the iterations that are logged, with the value that it had."""

import json
import math
from collections.abc import Callable

import pytest
from mmengine.hooks import Hook
from mmseg.models.decode_heads import decode_head
from mmseg.models.losses import accuracy

KEY = 'decode.acc_seg'


class Watch(Hook):
    """Note the accuracy of each iteration."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.values.append(float(outputs[KEY]))


@pytest.fixture
def logged(tiny_cfg: Callable, runs) -> Callable:
    """Train 6 iterations that log every second; gives the values of all, and those in the log."""

    def run(work_dir, hook: dict, log_processor: dict | None = None) -> tuple[list[float], list[float]]:
        cfg = tiny_cfg(iters=6, custom_hooks=[dict(type='LoggedAccuracyHook', **hook)])
        cfg.default_hooks.logger = dict(type='LoggerHook', interval=2)
        cfg.log_processor.update(log_processor or {})
        watch = Watch()
        runs.train(cfg, work_dir, hooks=(watch,))
        (path,) = work_dir.glob('*/vis_data/scalars.json')
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return watch.values, [line[KEY] for line in lines if KEY in line]

    return run


def test_same_log(logged, tmp_path):
    """The log is that of a run in which each iteration computes it; the others have NaN."""
    each, log = logged(tmp_path / 'each', dict(always=True))
    assert len(each) == 6 and all(map(math.isfinite, each))
    some, own = logged(tmp_path / 'some', {})
    assert own == log and len(own) == 3
    assert [math.isnan(value) for value in some] == [True, False] * 3
    assert some[1::2] == each[1::2]
    assert decode_head.accuracy is accuracy  # given back


@pytest.mark.parametrize(
    'log_processor',
    [
        dict(mean_pattern=r'.*(loss|acc).*'),
        dict(custom_cfg=[dict(data_src=KEY, method_name='mean', window_size=4)]),
    ],
    ids=['mean_pattern', 'custom_cfg'],
)
def test_averaged_accuracies(logged, tmp_path, log_processor):
    """Where the log averages accuracies, each iteration has its own."""
    values, log = logged(tmp_path, {}, log_processor)
    assert all(map(math.isfinite, values)) and all(map(math.isfinite, log))


def test_failed_training(tiny_cfg, runs, tmp_path):
    """A training that fails leaves mmseg as it was."""

    class Fail(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            assert decode_head.accuracy is not accuracy
            raise RuntimeError('stop')

    cfg = tiny_cfg(iters=6, custom_hooks=[dict(type='LoggedAccuracyHook')])
    with pytest.raises(RuntimeError, match='stop'):
        runs.train(cfg, tmp_path, hooks=(Fail(),))
    assert decode_head.accuracy is accuracy
