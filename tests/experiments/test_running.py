"""Trainings in processes: their order, what is not run again, what is said, what ends with what.

The tools are stand-ins that need no torch; tests/tools/test_sweep.py and test_demo.py run the real ones.
"""

import json
import os
import re
import time
from pathlib import Path

import pytest
import torch

from kd_methods.experiments import running
from kd_methods.experiments.trials import RECORD, Arm, Trial

TRAIN = """
import json, os, pathlib, runpy, shutil, signal, sys, time
config, folder, rest = sys.argv[1], pathlib.Path(sys.argv[3]), sys.argv[4:]
cfg = runpy.run_path(config)
act = cfg.get('act', '')
with open(folder.parents[1] / 'calls.txt', 'a') as file:
    file.write(' '.join(['train', folder.parent.name, str(cfg['randomness']['seed']), *rest]) + '\\n')
(folder / 'pid').write_text(str(os.getpid()))
(folder / 'device').write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'none'))
print('Iter(train) [ 1/4]  eta: 0:00:09  loss: 1.5', flush=True)
if act == 'fail':
    sys.exit('no such thing')
if act == 'sleep':
    time.sleep(60)
if act == 'pause':
    time.sleep(1.5)
name = 'iter_4.pth' if act != 'interrupt' or '--resume' in rest else 'iter_2.pth'
shutil.copy(pathlib.Path(__file__).with_name('checkpoint.pth'), folder / name)
(folder / 'last_checkpoint').write_text(str(folder / name))
if name == 'iter_2.pth':
    os.kill(os.getpid(), signal.SIGINT)
scalars = folder / 'date' / 'vis_data' / 'scalars.json'
scalars.parent.mkdir(parents=True, exist_ok=True)
last = cfg.get('validated', 4)
lines = [dict(loss=1.0, time=0.5, step=i) for i in (1, 2, 3, 4)] + [dict(mIoU=10.0, step=last)] * bool(last)
scalars.write_text('\\n'.join(map(json.dumps, lines)))
if act == 'no checkpoint':
    (folder / 'last_checkpoint').unlink()
"""
TEST = """
import json, pathlib, runpy, sys
config, checkpoint, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[4])
cfg = runpy.run_path(config)
with open(folder.parents[2] / 'calls.txt', 'a') as file:
    file.write(' '.join(['test', folder.parents[1].name, checkpoint.name, *sys.argv[5:]]) + '\\n')
if cfg.get('act') == 'fail test' and not (folder.parents[2] / 'mended').exists():
    sys.exit('test broke')
folder.mkdir(exist_ok=True)
(folder / f'test_{checkpoint.stem}.json').write_text(json.dumps(dict(metrics=dict(mIoU=20.0))))
"""


class Lab:
    """A folder with stand-ins for the tools, in which trials run."""

    def __init__(self, root: Path) -> None:
        self.root, tools = root / 'runs', root / 'tools'
        tools.mkdir()
        (tools / 'train.py').write_text(TRAIN)
        (tools / 'test.py').write_text(TEST)
        state = {
            'architecture.w': torch.zeros(3),
            'distiller.w': torch.zeros(5, 2),
            'weights.step': torch.zeros(()),
        }
        torch.save(
            dict(state_dict=state | {'distiller.running_mean': torch.zeros(7)}), tools / 'checkpoint.pth'
        )
        (root / 'net.py').write_text('model = dict()\ntrain_cfg = dict(max_iters=4, val_interval=2)\n')
        self.root.mkdir()

    def arm(self, name: str, act: str = '', teacher: Arm | None = None, **options) -> Arm:
        """An arm whose training does something."""
        return Arm(name, str(self.root.parent / 'net.py'), dict(act=act, **options), teacher=teacher)

    def trial(self, name: str, act: str = '', seed: int = 0, test: str = 'last', **options) -> Trial:
        """A trial of such an arm."""
        return Trial(self.arm(name, act, **options), seed, self.root, test)

    def run(self, *trials: Trial, **kwargs) -> dict[str, str]:
        """Run trials."""
        return running.run_trials(trials, os.environ, **kwargs)

    def calls(self) -> list[str]:
        """What was started since the last call."""
        path = self.root / 'calls.txt'
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def said(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(running, 'say', lines.append)
    return lines


@pytest.fixture
def lab(tmp_path, monkeypatch, said) -> Lab:
    monkeypatch.setattr(running, 'REPO_ROOT', tmp_path)
    monkeypatch.setattr(running, 'POLL', 0.02)
    return Lab(tmp_path)


def ended(pid_file: Path) -> bool:
    """Whether the process of a file does not live."""
    try:
        os.kill(int(pid_file.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_a_trial_is_trained_and_tested_once(lab, said):
    trial = lab.trial('net')
    assert lab.run(trial) == {} and lab.calls() == ['train net 0', 'test net iter_4.pth']
    record = json.loads((trial.folder / RECORD).read_text())
    own = dict(arm='net', config=trial.arm.config, options=dict(act=''), seed=0, key=trial.key, result='last')
    found = dict(
        done=True, trained=True, metrics=dict(mIoU=20.0), validation=dict(mIoU={'4': 10.0}), length=4
    )
    # 10 values of the adapter: neither the student nor a buffer
    assert record == own | found | dict(seconds_per_iteration=0.5, seconds=2.0, extra_parameters=10)
    assert lab.run(lab.trial('net')) == {} and lab.calls() == []
    assert said == ['net, seed 0: starts', 'net, seed 0: done', '1 of 1 done before']


def test_which_checkpoint_is_tested(lab):
    lab.run(lab.trial('net', test='best'))
    assert lab.calls()[1] == 'test net best.pth'
    arm = lab.arm('kept')
    lab.run(Trial(arm, 0, lab.root, 'last', predictions=True))
    assert lab.calls()[1] == f'test kept iter_4.pth --out {lab.root}/kept/seed_0/test/predictions'


def test_the_last_validation_as_result(lab):
    trial = lab.trial('net', test='')
    assert lab.run(trial) == {} and lab.calls() == ['train net 0']
    assert trial.record()['metrics'] == dict(mIoU=10.0)
    for early in (2, 0):
        failed = lab.run(lab.trial('early', test='', validated=early))
        assert re.search(r'no validation at its end .*every 2 of 4', failed['early, seed 0'])


def test_another_result_of_a_training_does_not_repeat_it(lab):
    for test, calls in (('', ['train net 0']), ('last', ['test net iter_4.pth']), ('', [])):
        assert lab.run(lab.trial('net', test=test)) == {} and lab.calls() == calls
        assert lab.trial('net', test=test).record()['metrics'] == dict(mIoU=20.0 if test else 10.0)


def test_other_settings_start_anew_and_the_old_run_is_kept(lab, said):
    for lr in (1, 2, 3):
        lab.run(lab.trial('net', test='', lr=lr))
        (lab.trial('net').folder / 'left').write_text(str(lr))
    assert lab.calls() == ['train net 0'] * 3
    kept = [lab.root / 'net' / name / 'left' for name in ('seed_0.old1', 'seed_0.old2', 'seed_0')]
    assert [path.read_text() for path in kept] == ['1', '2', '3']
    assert 'net, seed 0: its settings have changed, so it starts anew; seed_0.old2 is the old run' in said


def test_an_interrupted_training_goes_on_from_its_checkpoint(lab, said):
    trial = lab.trial('net', 'interrupt')
    with pytest.raises(KeyboardInterrupt):
        lab.run(trial)
    assert not trial.is_done() and lab.calls() == ['train net 0']
    lab.run(trial)
    assert lab.calls() == ['train net 0 --resume', 'test net iter_4.pth'] and trial.is_done()
    assert 'net, seed 0: goes on from iter_2.pth' in said


def test_an_interrupted_test_does_not_train_again(lab, said, monkeypatch):
    trial = lab.trial('net')

    def kill(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running.Running, 'results', kill)
        with pytest.raises(KeyboardInterrupt):
            lab.run(trial)
    lab.calls(), lab.run(trial)
    assert lab.calls() == ['test net iter_4.pth'] and trial.is_done()
    assert 'net, seed 0: trained before' in said


def test_a_failed_trial_is_reported_and_the_others_go_on(lab, said):
    trials = [lab.trial('a'), lab.trial('b', 'fail'), lab.trial('c'), lab.trial('d', 'fail test')]
    failed = lab.run(*trials)
    assert list(failed) == ['b, seed 0', 'd, seed 0']
    tail = r'no such thing\n\(exit code 1; the whole output is in .*output.txt\)$'
    assert re.search(tail, failed['b, seed 0'])
    assert 'test broke' in failed['d, seed 0'] and 'd, seed 0: failed' in said
    assert [t.is_done() for t in trials] == [True, False, True, False]
    lab.calls(), (lab.root / 'mended').touch()
    assert list(lab.run(*trials)) == ['b, seed 0']
    # the test may have failed for the sake of the training
    assert lab.calls() == ['train b 0', 'train d 0 --resume', 'test d iter_4.pth']


def test_a_training_without_a_checkpoint_is_reported(lab):
    act = 'no checkpoint'
    failed = lab.run(lab.trial('a', act), lab.trial('b', act, test=''), lab.trial('c'))
    assert list(failed) == ['a, seed 0', 'b, seed 0']
    assert all('last_checkpoint' in problem for problem in failed.values())


def test_only_the_present_output_is_shown(lab):
    trial = lab.trial('a', 'fail')
    lab.run(trial), trial.folder.joinpath('output.txt').write_text('of another day\n')
    assert 'of another day' not in lab.run(trial)['a, seed 0']


def test_students_wait_for_their_teachers(lab):
    teacher = lab.arm('teacher', 'pause')
    arms = [lab.arm('kd', teacher=teacher), teacher, lab.arm('alone')]
    trials = [Trial(arm, seed, lab.root, '') for seed in (0, 1) for arm in arms]
    assert lab.run(*trials, jobs=2) == {}
    calls = lab.calls()
    assert sorted(calls[:2]) == ['train alone 0', 'train teacher 0']
    assert calls.index('train kd 0') > calls.index('train teacher 0') and len(calls) == 6
    assert calls.index('train kd 1') > calls.index('train teacher 1')


def test_students_of_a_failed_teacher_are_not_trained(lab):
    teacher = lab.arm('teacher', 'fail')
    arms = [teacher, lab.arm('kd', teacher=teacher), lab.arm('alone')]
    failed = lab.run(*[Trial(arm, 0, lab.root, '') for arm in arms])
    assert list(failed) == ['teacher, seed 0', 'kd, seed 0'] and lab.calls() == [
        'train teacher 0',
        'train alone 0',
    ]
    assert failed['kd, seed 0'] == 'its teacher failed (teacher, seed 0)'


def test_a_teacher_that_is_not_trained_is_refused(lab):
    arm = lab.arm('kd', teacher=lab.arm('teacher'))
    with pytest.raises(ValueError, match='kd, seed 0: its teacher .teacher, seed 0. is not among the trials'):
        lab.run(Trial(arm, 0, lab.root))


def test_each_job_has_its_device(lab):
    trials = [lab.trial(name, 'pause', test='') for name in 'ab']
    lab.run(*trials, jobs=2, devices=['3', '5'])
    assert [(trial.folder / 'device').read_text() for trial in trials] == ['3', '5']


def test_ctrl_c_ends_all_processes(lab, said, monkeypatch):
    """Also those that ignore SIGINT, as what a shell starts in the background does."""
    trials = [lab.trial(name, 'sleep') for name in 'ab']

    def interrupt(text: str) -> None:
        if 'train 1/4' in text:
            raise KeyboardInterrupt  # no signal: where another test left its default, it ends pytest

    monkeypatch.setattr(running, 'say', interrupt)
    start = time.monotonic()
    (lab.root.parent / 'tools' / 'train.py').write_text(
        'import signal\nsignal.signal(2, signal.SIG_IGN)\n' + TRAIN
    )
    with pytest.raises(KeyboardInterrupt):
        lab.run(*trials, jobs=2, every=0.3)
    assert time.monotonic() - start < 20
    assert all(ended(trial.folder / 'pid') for trial in trials)


def test_progress_is_told(lab, said):
    lab.run(lab.trial('a', test=''), lab.trial('b', 'pause', test=''), every=0.2)
    assert 'b, seed 0: train 1/4, loss 1.5, 00:09 left' in said
    assert '1 of 2 done, about 0:02 min left' in said  # 4 iterations of 0.5 s
