"""The demo's parts: what is run, what is not run again, what is said; figures, tables, pictures."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from demo_parts import comparison, pictures, results, stages

from kd_methods.utils.report import table

WRITE = 'import pathlib, sys; pathlib.Path(sys.argv[1], "out").write_text(sys.argv[2])'


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """`stage(key, text='', code=WRITE)` runs a stage that writes `text`; `.said` is what it says."""
    folder, said = tmp_path / 'stage', []
    monkeypatch.setattr(stages, 'say', said.append)

    def run(key: str, text: str = '', code: str = WRITE) -> stages.Stage:
        made = stages.Stage('work', folder, key, ['-c', code, folder, text], 'out')
        made.run(os.environ)
        return made

    run.said, run.folder = said, folder
    return run


def test_a_finished_stage_is_not_run_again(stage):
    assert stage('a', 'first').is_done() and stage('a', 'second').is_done()
    assert (stage.folder / 'out').read_text() == 'first' and stage.said[-1] == 'work: done before'
    assert not stages.Stage('work', stage.folder, 'b', [], 'out').is_done()


def test_a_stage_without_its_result_is_run_again(stage):
    stage('a', 'first')
    (stage.folder / 'out').unlink()
    stage('a', 'second')
    assert (stage.folder / 'out').read_text() == 'second'


def test_other_settings_start_anew(stage):
    stage('a', 'first')
    (stage.folder / 'last_checkpoint').write_text('x.pth')
    stage('b', 'second')
    assert (stage.folder / 'out').read_text() == 'second' and not (stage.folder / 'last_checkpoint').exists()
    assert stage.said[-3:-1] == ['work: its settings have changed, so it starts anew', 'work: starts']


def test_an_interrupted_stage_goes_on_from_its_checkpoint(stage):
    leave = (
        'import pathlib, sys, signal; pathlib.Path(sys.argv[1], '
        '"last_checkpoint").write_text("work/iter_7.pth"); signal.signal(signal.SIGINT, signal.SIG_DFL); '
        'signal.raise_signal(signal.SIGINT)'
    )
    with pytest.raises(KeyboardInterrupt):
        stage('a', code=leave)
    stage('a', code='import sys; open(sys.argv[1] + "/out", "w").write(sys.argv[-1])')
    assert stage.said[-2] == 'work: goes on from iter_7.pth'
    assert (stage.folder / 'out').read_text() == '--resume'


def test_time_of_all_sessions_counts(stage):
    wait = 'import time, sys; time.sleep(0.3); open(sys.argv[1] + "/{}", "w"); sys.exit({})'
    with pytest.raises(stages.StageError):
        stage('a', code=wait.format('last_checkpoint', 1))
    before = json.loads((stage.folder / stages.MARKER).read_text())['seconds']
    assert before > 0.2 and stage('a', code=wait.format('out', 0)).marker()['seconds'] > before + 0.2


def test_a_failed_stage_shows_its_last_lines(stage):
    with pytest.raises(stages.StageError, match='(?s)no such thing.*exit code 3.*output.txt'):
        stage('a', code='import sys; print("no such thing", file=sys.stderr); sys.exit(3)')
    assert 'no such thing' in (stage.folder / 'output.txt').read_text()


def test_a_stage_that_writes_nothing_has_failed(stage):
    with pytest.raises(stages.StageError, match='wrote no .*out'):
        stage('a', code='pass')


def test_interrupting_the_caller_ends_the_process(tmp_path, monkeypatch):
    def interrupt(text):
        if text == 'work: train 1/9, loss 1':
            raise KeyboardInterrupt

    monkeypatch.setattr(stages, 'EVERY', 0.1)
    monkeypatch.setattr(stages, 'say', interrupt)
    code = (
        f'import os, time\nopen({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))\n'
        'print("Iter(train) [1/9] loss: 1", flush=True)\ntime.sleep(60)'
    )
    with pytest.raises(KeyboardInterrupt):
        stages.run_process('work', ['-c', code], os.environ, tmp_path / 'output.txt')
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)


def test_silence_is_broken(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, 'EVERY', 0.2)
    command = ['-c', 'import time; time.sleep(1)']
    stages.run_process('work', command, os.environ, tmp_path / 'output.txt')
    assert stage.said[0].startswith('work: at work for 0:00 min')


@pytest.mark.parametrize(
    'line, words',
    [
        (
            '11/21 01:02:03 - mmengine - INFO - Iter(train) [  50/1500]  base_lr: 4.0000e-03 lr: 4.0000e-03  '
            'eta: 0:04:50  time: 0.2001  data_time: 0.0061  loss: 1.2345  decode.loss_ce: 1.2345',
            'train 50/1500, loss 1.2345, 04:50 left',
        ),
        ('INFO - Iter(val) [100/300]    eta: 0:00:02  time: 0.0121', 'val 100/300, 00:02 left'),
        ('INFO - Iter(test) [300/300]    aAcc: 90.1  mIoU: 55.1200', 'test 300/300'),
        (
            'INFO - Iter(train) [2/9]  eta: 1 day, 1:00:02  loss: nan',
            'train 2/9, loss nan, 1 day, 1:00:02 left',
        ),
        ('INFO - Iter(val) [1/3]\nINFO - Iter(train) [2/9]\nINFO - Saving', 'train 2/9'),
        ('INFO - Saving checkpoint at 250 iterations', ''),
    ],
)
def test_progress(line, words):
    assert stages.progress(line) == words


def test_settings_follow_the_networks_of_a_distillation_config(tiny_distill_cfg):
    arm = comparison.Arm('tiny', 'tiny', tiny_distill_cfg)
    cfg = comparison.run_config(arm, {})
    assert 'cfg_path' not in cfg.model.teacher and cfg.model.teacher.type == 'EncoderDecoder'
    assert cfg.to_dict() == comparison.run_config(arm, {}).to_dict()
    for key in ('model.distiller.distill_losses.loss_logits.tau', 'optim_wrapper.optimizer.lr'):
        assert cfg.to_dict() != comparison.run_config(arm, {key: 0.02}).to_dict()


def write_log(folder, session: str, *records: dict) -> None:
    path = folder / session / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(r) for r in records) + '\n{"loss": 1.')  # stopped while it wrote


def test_sessions_of_an_interrupted_run_are_one(tmp_path):
    first = [dict(loss=3.0, time=0.1, step=10), dict(loss=2.0, time=0.3, step=20), dict(mIoU=11.0, step=20)]
    write_log(tmp_path, '20260101_000000', *first)
    second = [dict(loss=2.5, time=0.5, step=20), dict(mIoU=12.0, step=20), dict(loss=1.0, time=0.2, step=30)]
    write_log(tmp_path, '20260101_000100', *second)
    log = results.read_training(tmp_path)
    assert log.loss == {10: 3.0, 20: 2.5, 30: 1.0}
    assert log.miou == {20: 12.0}
    assert log.seconds_per_iteration == 0.2  # the median of 0.1, 0.5, 0.2
    assert results.read_training(tmp_path / 'none').seconds_per_iteration is None


def test_curves_compare_task_losses(tmp_path):
    losses = {'student.decode.loss_ce': 1.5, 'student.aux.loss_ce': 0.5, 'distill.loss_i2ckd': 3.0}
    others = {'loss': 5.0, 'student.decode.acc_seg': 70.0, 'time': 1.0, 'step': 1}
    write_log(tmp_path, 'a', losses | others)
    assert results.read_training(tmp_path).loss == {1: 2.0}


def test_mean_and_sample_deviation():
    runs = [dict(arm='alone', seed=s, mIoU=v) for s, v in ((2, 33.0), (0, 30.0), (1, 36.0))]
    runs.append(dict(arm='teacher', seed=0, mIoU=60.0))
    summary = results.summarize(runs)
    assert summary['alone'] == dict(seeds=[0, 1, 2], values=[30.0, 36.0, 33.0], mean=33.0, std=3.0)
    assert summary['teacher'] == dict(seeds=[0], values=[60.0], mean=60.0, std=None)


def test_tables():
    arms = dict(alone=dict(title='student alone', parameters=957027, flops=145e6))
    runs = [
        dict(arm='alone', seed=s, mIoU=v, seconds_per_iteration=0.1234, iterations=700)
        for s, v in ((0, 30.0), (1, 36.0))
    ]
    found = dict(input_size=96, arms=arms, runs=runs, summary=results.summarize(runs))
    assert results.comparison(found)[1:] == [['student alone', '30.0', '0.96 M', '145 M', '0.123', '700']]
    assert results.over_seeds(found) == [
        ['val mIoU', 'seed 0', 'seed 1', 'mean', 'standard deviation'],
        ['student alone', '30.0', '36.0', '33.0', '4.2'],
    ]
    assert results.over_seeds(dict(found, summary=results.summarize(runs[:1]))) == []
    assert results.as_markdown([['a', 'b'], ['x', '1']]) == '| a | b |\n|---|---:|\n| x | 1 |'
    assert table([['xyz', '1']], ['a', 'bb'], right=(1,), rule=True) == 'a    bb\n-------\nxyz   1'


@pytest.mark.parametrize('count', [1, 5, 200])
def test_smoothing_keeps_length_and_lines(count):
    values = np.arange(count, dtype=float)
    inner = slice(10, -10) if count > 20 else slice(None)
    smooth = pictures.smooth(values)
    assert np.allclose(smooth[inner], values[inner]) and len(smooth) == count
