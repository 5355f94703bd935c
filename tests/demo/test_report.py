"""The demo's figures: logs over several sessions, means and deviations, tables."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kd_methods.demo import report
from kd_methods.demo.logs import read_training
from kd_methods.demo.pictures import painted, smooth


def write_log(folder, session: str, *records: dict) -> None:
    path = folder / session / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(r) for r in records) + '\n{"loss": 1.')  # stopped while it wrote


def test_sessions_of_an_interrupted_run_are_one(tmp_path):
    write_log(
        tmp_path,
        '20260101_000000',
        dict(loss=3.0, time=0.1, iter=10, step=10),
        dict(loss=2.0, time=0.3, iter=20, step=20),
        dict(mIoU=11.0, step=20),
    )
    write_log(
        tmp_path,
        '20260101_000100',
        dict(loss=2.5, time=0.5, iter=20, step=20),
        dict(mIoU=12.0, step=20),
        dict(loss=1.0, time=0.2, iter=30, step=30),
    )
    log = read_training(tmp_path)
    assert log.loss == {10: 3.0, 20: 2.5, 30: 1.0}
    assert log.miou == {20: 12.0}
    assert log.seconds_per_iteration == 0.2  # the median of 0.1, 0.5, 0.2
    assert read_training(tmp_path / 'none').seconds_per_iteration is None


def test_curves_compare_task_losses(tmp_path):
    write_log(
        tmp_path,
        'a',
        {
            'loss': 5.0,
            'student.decode.loss_ce': 1.5,
            'student.aux.loss_ce': 0.5,
            'distill.loss_i2ckd': 3.0,
            'student.decode.acc_seg': 70.0,
            'time': 1.0,
            'step': 1,
        },
    )
    assert read_training(tmp_path).loss == {1: 2.0}


def test_mean_and_sample_deviation():
    runs = [dict(arm='alone', seed=s, mIoU=v) for s, v in ((2, 33.0), (0, 30.0), (1, 36.0))]
    runs.append(dict(arm='teacher', seed=0, mIoU=60.0))
    summary = report.summarize(runs)
    assert summary['alone'] == dict(seeds=[0, 1, 2], values=[30.0, 36.0, 33.0], mean=33.0, std=3.0)
    assert summary['teacher'] == dict(seeds=[0], values=[60.0], mean=60.0, std=None)


def test_tables():
    arms = dict(alone=dict(title='student alone', parameters=957027, flops=145e6))
    runs = [
        dict(arm='alone', seed=s, mIoU=v, seconds_per_iteration=0.1234, iterations=700)
        for s, v in ((0, 30.0), (1, 36.0))
    ]
    results = dict(input_size=96, arms=arms, runs=runs, summary=report.summarize(runs))
    assert report.comparison(results)[1] == ['student alone', '30.0', '0.96 M', '145 M', '0.123', '700']
    assert report.over_seeds(results) == [
        ['val mIoU', 'seed 0', 'seed 1', 'mean', 'standard deviation'],
        ['student alone', '30.0', '36.0', '33.0', '4.2'],
    ]
    assert report.over_seeds(dict(results, summary=report.summarize(runs[:1]))) == []
    assert report.as_markdown([['a', 'b'], ['x', '1']]) == '| a | b |\n|---|---:|\n| x | 1 |'
    assert report.as_text([['a', 'bb'], ['xyz', '1']]) == 'a    bb\n-------\nxyz   1'
    assert [report.flops(v) for v in (None, 2.5e9, 16e6)] == ['-', '2.50 G', '16 M']


def test_label_colours():
    picture = painted(np.array([[0, 1, 255]], np.uint8))
    assert picture.tolist() == [[[40, 40, 40], [230, 25, 75], [255, 255, 255]]]


@pytest.mark.parametrize('count', [1, 5, 200])
def test_smoothing_keeps_length_and_lines(count):
    values = np.arange(count, dtype=float)
    inner = slice(10, -10) if count > 20 else slice(None)
    assert np.allclose(smooth(values)[inner], values[inner]) and len(smooth(values)) == count
