"""Stages: what is run, what is not run again, what is gone on with, what is said on the way."""

from __future__ import annotations

import json
import os

import pytest

from kd_methods.demo import stages
from kd_methods.demo.stages import StageError, is_done, progress, run_process, run_stage

WRITE = 'import pathlib, sys; pathlib.Path(sys.argv[1], "out").write_text(sys.argv[2])'


@pytest.fixture
def stage(tmp_path):
    """`stage(key, text='', code=WRITE)` runs a stage that writes `text`; `.said`, `.resumed` keep what
    happened.
    """
    folder = tmp_path / 'stage'

    def run(key: str, text: str = '', code: str = WRITE) -> bool:
        def command(resume: bool) -> list:
            run.resumed.append(resume)
            return ['-c', code, folder, text]

        return run_stage('work', folder, key, command, os.environ, result='out', say=run.said.append)

    run.said, run.resumed, run.folder = [], [], folder
    return run


def test_a_finished_stage_is_not_run_again(stage):
    assert stage('a', 'first') is True
    assert is_done(stage.folder, 'a') and not is_done(stage.folder, 'b')
    assert stage('a', 'second') is False
    assert (stage.folder / 'out').read_text() == 'first'
    assert stage.resumed == [False] and stage.said[-1] == 'work: done before'


def test_a_stage_without_its_result_is_run_again(stage):
    stage('a')
    (stage.folder / 'out').unlink()
    assert stage('a') is True


def test_other_settings_start_anew(stage):
    stage('a', 'first')
    (stage.folder / 'last_checkpoint').write_text('x.pth')
    assert stage('b', 'second') is True
    assert stage.resumed == [False, False], 'a checkpoint of other settings is nothing to go on from'
    assert (stage.folder / 'out').read_text() == 'second'
    assert 'work: its settings have changed, so it starts anew' in stage.said


def test_an_interrupted_stage_goes_on_from_its_checkpoint(stage):
    leave = (
        'import pathlib, sys, signal; pathlib.Path(sys.argv[1], '
        '"last_checkpoint").write_text("work/iter_7.pth"); signal.signal(signal.SIGINT, signal.SIG_DFL); '
        'signal.raise_signal(signal.SIGINT)'
    )
    with pytest.raises(KeyboardInterrupt):
        stage('a', code=leave)
    assert not is_done(stage.folder, 'a')
    assert stage('a') is True
    assert stage.resumed == [False, True] and 'work: goes on from iter_7.pth' in stage.said


def test_time_of_all_sessions_counts(stage):
    with pytest.raises(StageError):
        stage(
            'a',
            code='import time, sys; time.sleep(0.3); open(sys.argv[1] + "/last_checkpoint", "w"); '
            'sys.exit(1)',
        )
    before = json.loads((stage.folder / stages.MARKER).read_text())['seconds']
    assert before > 0.2
    stage('a', code='import time; time.sleep(0.3); ' + WRITE)
    assert json.loads((stage.folder / stages.MARKER).read_text())['seconds'] > before + 0.2


def test_a_failed_stage_shows_its_last_lines(stage):
    with pytest.raises(StageError, match='(?s)no such thing.*exit code 3.*output.txt'):
        stage('a', code='import sys; print("no such thing", file=sys.stderr); sys.exit(3)')
    assert 'no such thing' in (stage.folder / 'output.txt').read_text()


def test_a_stage_that_writes_nothing_has_failed(stage):
    with pytest.raises(StageError, match='without writing .*out'):
        stage('a', code='pass')


def test_interrupting_the_caller_ends_the_process(tmp_path, monkeypatch):
    def interrupt(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, 'EVERY', 0.0)
    code = (
        f'import os, time\nopen({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))\n'
        'print("Iter(train) [1/9] loss: 1", flush=True)\ntime.sleep(60)'
    )
    with pytest.raises(KeyboardInterrupt):
        run_process('work', ['-c', code], os.environ, tmp_path / 'output.txt', interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)


def test_silence_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, 'QUIET', 0.5)
    said = []
    run_process(
        'work', ['-c', 'import time; time.sleep(2.5)'], os.environ, tmp_path / 'output.txt', said.append
    )
    assert said and said[0].startswith('work: at work for')


@pytest.mark.parametrize(
    'line, words',
    [
        (
            '11/21 01:02:03 - mmengine - INFO - Iter(train) [  50/1500]  base_lr: 4.0000e-03 lr: '
            '4.0000e-03  eta: 0:04:50  time: 0.2001  data_time: 0.0061  loss: 1.2345  decode.loss_ce: '
            '1.2345',
            'iteration 50/1500, loss 1.234, 04:50 left',
        ),
        (
            'INFO - Iter(train) [1500/1500]  eta: 0:00:00  time: 0.2  loss: 0.5000  distill.loss_i2ckd: 0.1',
            'iteration 1500/1500, loss 0.500',
        ),
        ('INFO - Iter(val) [100/300]    eta: 0:00:02  time: 0.0121', 'validation image 100/300, 00:02 left'),
        ('INFO - Iter(val) [300/300]    aAcc: 90.1  mIoU: 55.1200  mAcc: 60.0', 'validated, mIoU 55.1200'),
        ('INFO - Iter(test) [300/300]    aAcc: 90.1  mIoU: 55.1200  mAcc: 60.0', 'tested, mIoU 55.1200'),
        ('INFO - Iter(train) [2/9]  eta: 1:00:02  loss: nan', 'iteration 2/9, loss nan, 1:00:02 left'),
        ('INFO - Saving checkpoint at 250 iterations', ''),
    ],
)
def test_progress(line, words):
    assert progress(line) == words


def test_overrides_on_the_command_line():
    assert stages.as_arguments({}) == []
    assert stages.as_arguments({'a.b': 1, 'c': [1, 2]}) == ['--cfg-options', 'a.b=1', 'c=[1,2]']


def test_hash_follows_the_networks_of_a_distillation_config(tiny_distill_cfg):
    def key(**options):
        return stages.digest(stages.run_config(tiny_distill_cfg, options).to_dict())

    cfg = stages.run_config(tiny_distill_cfg, {})
    assert 'cfg_path' not in cfg.model.teacher and cfg.model.teacher.type == 'EncoderDecoder'
    assert key() == key()
    assert key() != key(**{'model.distiller.distill_losses.loss_logits.tau': 2.0})
    assert key() != key(**{'optim_wrapper.optimizer.lr': 0.02})
