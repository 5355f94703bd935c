"""SIGTERM, SIGINT and SIGUSR1 finish the iteration, save, and end with a sentence that says how to go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from entry import run_tool
from mmengine.hooks import Hook
from toys import ROOT, free_port

EXACT, STOP = dict(type='ExactResumeHook'), dict(type='StopOnSignalHook')
TERM, SLOW = signal.SIGTERM, pytest.mark.slow
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}


class Send(Hook):
    """Sends this process a signal at a point of the run."""

    priority = 'VERY_HIGH'

    def __init__(self, point: str, at: int, number: int = signal.SIGTERM) -> None:
        self.point, self.at, self.number = point, at, number
        setattr(self, point, self.send)

    def send(self, runner, *args, **kwargs) -> None:
        if runner.iter == self.at and self.number:
            os.kill(os.getpid(), self.number)
            self.number = 0


@pytest.fixture(autouse=True)
def handlers_go_back():
    """A run that is stopped leaves signals ignored: its process is at its end."""
    before = {number: signal.getsignal(number) for number in CODES}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# ---------------------------------------------------------------- the state that is saved


@pytest.mark.parametrize(
    'send', [('before_train_iter', 2), ('after_train_iter', 3), ('after_val_iter', 4), ('after_val_epoch', 4)]
)
@pytest.mark.parametrize('ema', [False, True])
def test_signal_at_any_point_and_resume_equal_the_whole_run(tiny_cfg, runs, tmp_path, send, ema):
    """In an iteration, in a validation (in which EMA has exchanged the weights) and in its metrics."""
    hooks = [EXACT, *([dict(type='EMAHook', momentum=0.1)] if ema else []), STOP]
    cfg = tiny_cfg(iters=6, custom_hooks=hooks)
    cfg.train_cfg.val_interval = 4
    cfg.default_hooks.checkpoint.update(interval=6, max_keep_ckpts=1)
    assert runs.compare_with_resumed(cfg, tmp_path, stop=Send(*send)) == []


def test_workers_and_amp(tiny_cfg, runs, tmp_path):
    cfg = tiny_cfg(iters=5, custom_hooks=[EXACT, STOP])
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.default_hooks.checkpoint.update(interval=5)
    assert runs.compare_with_resumed(cfg, tmp_path, stop=Send('before_train_iter', 2)) == []


def by_epoch(cfg):
    """Epochs of four iterations, a checkpoint each."""
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=3, max_keep_ckpts=1)
    cfg.train_dataloader.update(sampler=dict(type='DefaultSampler', shuffle=True), batch_size=4)
    return cfg


@pytest.mark.parametrize('send', [('before_train_iter', 3), ('after_val_iter', 4)])
def test_end_of_an_epoch(tiny_cfg, runs, tmp_path, send):
    """A signal in the last iteration waits for the end of the epoch; one in the validation is after it."""
    cfg = by_epoch(tiny_cfg(custom_hooks=[EXACT, STOP]))
    assert runs.compare_with_resumed(cfg, tmp_path, stop=Send(*send)) == []


def test_within_an_epoch(tiny_cfg, runs, tmp_path):
    """The weights are kept, in a file that is gone as soon as a whole epoch is saved."""
    cfg = by_epoch(tiny_cfg(custom_hooks=[EXACT, STOP]))
    runs.train(cfg, tmp_path, stop=Send('before_train_iter', 5))
    meta = torch.load(tmp_path / 'iter_6_epoch_1.pth', weights_only=False)['meta']
    assert (meta['epoch'], meta['iter']) == (1, 6)
    runner = runs.train(cfg, tmp_path, resume=True)
    log = next((tmp_path / runner.timestamp).glob('*.log')).read_text()
    assert 'iter_6_epoch_1.pth, the newest' in log and 'from the middle of an epoch' in log
    assert runner.epoch == 3
    assert sorted(p.name for p in tmp_path.glob('*.pth')) == ['epoch_3.pth']


def test_no_second_save_of_an_iteration(tiny_cfg, runs, tmp_path):
    """The file of the interval stays as it is, and stays alone."""
    cfg = tiny_cfg(iters=6, custom_hooks=[STOP])
    written = []
    follow = Hook()
    follow.before_save_checkpoint = lambda runner, checkpoint: written.append(checkpoint['meta']['iter'])
    cfg.train_cfg.val_interval = 4
    for point, at in (('before_train_iter', 3), ('after_val_iter', 4)):
        written.clear()
        runs.train(cfg, tmp_path / point, stop=Send(point, at), hooks=(follow,))
        assert written == [2, 4]


def test_a_failed_save_is_not_called_saved(tiny_cfg, runs, tmp_path, monkeypatch):
    from mmengine.runner import runner as module

    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(module, 'save_checkpoint', full)
    cfg = tiny_cfg(iters=6, custom_hooks=[STOP])
    runner = runs.train(cfg, tmp_path, stop=Send('before_train_iter', 2))
    assert 'after iteration 3, NOT saved' in next((tmp_path / runner.timestamp).glob('*.log')).read_text()


def test_a_run_that_ends_leaves_the_handlers_as_they_were(tiny_cfg, runs, tmp_path):
    before = [signal.getsignal(number) for number in CODES]
    runs.train(tiny_cfg(iters=2, custom_hooks=[STOP]), tmp_path)
    assert [signal.getsignal(number) for number in CODES] == before


# ---------------------------------------------------------------- the process


@pytest.fixture
def start(tmp_path):
    """`start(config, *arguments)`: `.process` and `.until(text)`, which reads its output up to a line."""
    started = []

    def run(
        config: Path, *arguments: str, command: tuple = ('tools/train.py',), **env: str
    ) -> SimpleNamespace:
        command = [*([sys.executable] if command[0].endswith('.py') else []), *command, config, *arguments]
        errors = (tmp_path / 'stderr').open('w')
        process = subprocess.Popen(
            [str(c) for c in [*command, '--work-dir', tmp_path / 'work']],
            cwd=ROOT,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **env},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        started.append(process)

        def until(text: str) -> None:
            for line in process.stdout:
                if text in line:
                    return
            raise AssertionError(f'no {text!r}: {(tmp_path / "stderr").read_text()}')

        def end() -> tuple[int, str]:
            process.communicate(timeout=120)
            return process.returncode, (tmp_path / 'stderr').read_text()

        return SimpleNamespace(process=process, until=until, end=end)

    yield run
    for process in started:
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            for member in (process, *family):
                member.kill()
            process.wait()


@pytest.fixture(scope='module')
def endless(tiny_config):
    """A config whose run ends by a signal, and whose checkpoints are far apart."""
    return tiny_config('endless', iters=100_000)


def saved_iteration(work_dir: Path) -> int:
    """Iteration of the only checkpoint, as its name and its content say."""
    (file,) = [f for f in work_dir.glob('iter_*.pth') if not f.stem.endswith('_student')]
    iteration = torch.load(file, weights_only=False)['meta']['iter']
    assert file.name == f'iter_{iteration}.pth'
    assert not [p for p in work_dir.rglob('*') if p.name.endswith('.part')]
    return iteration


@pytest.mark.parametrize('number', CODES, ids=lambda n: n.name)
def test_exit_code_and_sentence(tiny_cfg, runs, tmp_path, capsys, number):
    cfg = tiny_cfg(iters=3, custom_hooks=[STOP])
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: runs.train(cfg, tmp_path, hooks=(Send('before_train_iter', 1, number),)), 'Go on.')
    assert ended.value.code == CODES[number]
    text = f'{number.name} ended the training after iteration 2, saved in {tmp_path / "iter_2.pth"}. Go on.'
    assert text in capsys.readouterr().err


@pytest.mark.parametrize('number', [TERM, pytest.param(signal.SIGINT, marks=SLOW)], ids=lambda n: n.name)
def test_process_ends_with_its_code(endless, start, tmp_path, number):
    run = start(endless)
    run.until('Iter(train) [ ')
    run.process.send_signal(number)
    code, errors = run.end()
    iteration = saved_iteration(tmp_path / 'work')
    assert code == CODES[number]
    assert f'train.py: {number.name} ended the training after iteration {iteration}, saved in ' in errors
    assert 'Add --resume to the same command' in errors and 'Traceback' not in errors


def test_signal_to_all_processes_leaves_no_worker(tiny_config, start, tmp_path):
    """As Slurm and a terminal send it: workers live until the iteration is done, and not longer."""
    cfg = tiny_config('endless_workers', iters=100_000)
    run = start(
        cfg, '--cfg-options', 'train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True'
    )
    run.until('Iter(train) [     3/')  # both workers have given a batch
    workers = psutil.Process(run.process.pid).children(recursive=True)
    assert len(workers) == 2
    os.killpg(run.process.pid, signal.SIGTERM)
    code, errors = run.end()
    assert code == 143 and 'Traceback' not in errors and 'worker' not in errors
    assert saved_iteration(tmp_path / 'work') > 0
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_second_signal_ends_at_once(tiny_scenes, tiny_config, start, tmp_path):
    """Here in an iteration that lasts for ever."""
    (tmp_path / 'stuck.py').write_text(
        'import time\nfrom mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n\n\n'
        '@HOOKS.register_module()\nclass Stuck(Hook):\n'
        '    def after_train_iter(self, runner, **kwargs):\n'
        "        print('now ' + 'stuck', flush=True)\n        while True:\n            time.sleep(0.1)\n"
    )
    keys = dict(custom_imports=dict(imports=['stuck']), custom_hooks=[dict(type='Stuck')])
    run = start(tiny_config('stuck', **keys), PYTHONPATH=f'{tmp_path}:{ROOT}')
    run.until('now stuck')
    run.process.send_signal(signal.SIGTERM)
    errors = tmp_path / 'stderr'
    while 'a second signal ends' not in errors.read_text():
        assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    code, text = run.end()
    assert code == 130 and 'ends at once' in text and 'Traceback' not in text
    assert not list((tmp_path / 'work').glob('*.pth'))


@pytest.mark.parametrize('number', [TERM, pytest.param(signal.SIGINT, marks=SLOW)], ids=lambda n: n.name)
def test_before_the_first_iteration_nothing_is_saved(tiny_scenes, tiny_config, start, tmp_path, number):
    """While networks and data are built."""
    (tmp_path / 'slow.py').write_text(
        'import time\nfrom mmengine.registry import HOOKS\nfrom mmengine.hooks import Hook\n\n\n'
        '@HOOKS.register_module()\nclass Slow(Hook):\n'
        '    def __init__(self):\n'
        "        print('now ' + 'building', flush=True)\n        while True:\n            time.sleep(0.1)\n"
    )
    keys = dict(custom_imports=dict(imports=['slow']), custom_hooks=[dict(type='Slow')])
    run = start(tiny_config('slow', **keys), PYTHONPATH=f'{tmp_path}:{ROOT}')
    run.until('now building')
    run.process.send_signal(number)
    code, errors = run.end()
    assert code == CODES[number] and 'Traceback' not in errors
    assert 'Add --resume to the same command' in errors
    assert not list((tmp_path / 'work').glob('*.pth'))


@pytest.mark.slow
@pytest.mark.parametrize('number', CODES, ids=lambda n: n.name)
def test_two_ranks_stop_at_the_same_iteration(endless, start, tmp_path, number):
    """torchrun passes the signal on."""
    run = start(endless, '2', command=('tools/dist_train.sh',), PORT=free_port())
    run.until('Iter(train) [ ')
    ranks = psutil.Process(run.process.pid).children(recursive=True)
    run.process.send_signal(number)
    code, errors = run.end()
    assert code == CODES[number], errors
    assert errors.count('ended the training after iteration') == 1 and 'Traceback' not in errors
    assert saved_iteration(tmp_path / 'work') > 0
    assert psutil.wait_procs(ranks, timeout=60)[1] == []


def test_one_rank_gets_the_signal(endless, start, tmp_path):
    """Both stop, and the launcher's own signal to the last does not break its save."""
    run = start(endless, '2', command=('tools/dist_train.sh',), PORT=free_port())
    run.until('Iter(train) [ ')
    ranks = [p for p in psutil.Process(run.process.pid).children() if 'train.py' in ' '.join(p.cmdline())]
    ranks[1].send_signal(signal.SIGTERM)
    code, errors = run.end()
    assert code == 143 and 'Traceback' not in errors
    assert saved_iteration(tmp_path / 'work') > 0
