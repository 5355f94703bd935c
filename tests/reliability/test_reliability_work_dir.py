"""One run a work directory, and what is said where it cannot be written: before training, or at a save."""

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import signal
import socket
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from kd_methods.compat.checkpoint_files import write_checkpoint
from kd_methods.engine import work_dir
from kd_methods.hooks import room

CONFIG = dict(type='CheckpointHook')


def claim(folder: Path, **hook) -> None:
    work_dir.claim(Config(dict(work_dir=str(folder), default_hooks=dict(checkpoint=dict(CONFIG, **hook)))))


@pytest.fixture(autouse=True)
def release():
    """This process's own claims end with a test."""
    yield
    for folder in list(work_dir._held):
        work_dir._held.pop(folder).close()


@contextlib.contextmanager
def another_process(folder: Path):
    """A process that trains in a folder; gives its number."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            claim(folder)
            os.write(write, b'claimed')
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    try:
        assert os.read(read, 10) == b'claimed'
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        os.close(read)


@pytest.fixture(params=[True, False], ids=['locks', 'no-locks'])
def locks(request, monkeypatch):
    """File systems with and without locks."""

    def refuse(*args):
        raise OSError(errno.ENOLCK, 'No locks available')

    if not request.param:
        monkeypatch.setattr(fcntl, 'lockf', refuse)


# ---------------------------------------------------------------- one run


def test_a_second_run_names_the_first(locks, tmp_path):
    with another_process(tmp_path) as child, pytest.raises(ValueError, match='in use by process') as refused:
        claim(tmp_path)
    assert f'process {child} on {socket.gethostname()}, since 20' in str(refused.value)


def test_a_dead_process_gives_way(locks, tmp_path, capsys):
    with another_process(tmp_path) as child:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        claim(tmp_path)
    assert f'the run of process {child} on {socket.gethostname()} was killed' in capsys.readouterr().out
    assert (tmp_path / work_dir.RECORD).read_text().splitlines()[0] == str(os.getpid())


def test_another_process_with_the_number_of_a_dead_one(tmp_path, monkeypatch):
    """Numbers come again: when the process started decides."""
    monkeypatch.setattr(fcntl, 'lockf', lambda *args: (_ for _ in ()).throw(OSError(errno.ENOLCK, '')))
    record = tmp_path / work_dir.RECORD
    record.write_text(f'{os.getppid()}\n{socket.gethostname()}\n1.0\n2020-01-01 00:00:00')
    claim(tmp_path)


def test_without_locks_another_host_is_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, 'lockf', lambda *args: (_ for _ in ()).throw(OSError(errno.ENOLCK, '')))
    (tmp_path / work_dir.RECORD).write_text('7\nfar\n1.0\n2020-01-01 00:00:00')
    with pytest.raises(
        ValueError, match=r'process 7 on far, since 2020.*If that host is gone: remove .*running'
    ):
        claim(tmp_path)


def test_the_same_process_again_and_the_end(tmp_path):
    claim(tmp_path)
    claim(tmp_path)
    work_dir._release(str(tmp_path), os.getpid() + 1)  # a fork's end
    assert (tmp_path / work_dir.RECORD).exists()
    work_dir._release(str(tmp_path), os.getpid())
    assert not list(tmp_path.iterdir())


def test_tools_train_refuses_and_tools_test_does_not(tiny_teacher, tools, tmp_path):
    with another_process(tmp_path):
        with pytest.raises(ValueError, match='in use by process'):
            tools.train([str(tiny_teacher.config), '--work-dir', str(tmp_path)])
        assert not list(tmp_path.glob('*.py'))
        tools.test([str(tiny_teacher.config), str(tiny_teacher.checkpoint), '--work-dir', str(tmp_path)])


def test_only_the_first_rank_claims(tmp_path, monkeypatch):
    for name, value in dict(RANK=1, WORLD_SIZE=2, LOCAL_RANK=1).items():
        monkeypatch.setenv(name, str(value))
    work_dir.claim(Config(dict(work_dir=str(tmp_path / 'no'), launcher='pytorch')))
    assert not list(tmp_path.iterdir())


def test_left_overs_of_a_kill_are_removed(tmp_path):
    """Also where checkpoints go elsewhere; users' own files stay."""
    out = tmp_path / 'out' / 'run'
    out.mkdir(parents=True)
    (tmp_path / 'run').mkdir()
    for folder in (out, tmp_path / 'run'):
        (folder / '.iter_4.pth.part').write_text('half')
        (folder / 'iter_2.pth').write_text('whole')
    claim(tmp_path / 'run', out_dir=str(tmp_path / 'out'))
    assert [p.name for p in out.iterdir()] == ['iter_2.pth']
    assert sorted(p.name for p in (tmp_path / 'run').iterdir()) == [work_dir.RECORD, 'iter_2.pth']


# ---------------------------------------------------------------- before training


def test_a_file_in_the_way(tmp_path):
    (tmp_path / 'file').write_text('')
    for path in ('file', 'file/below'):
        with pytest.raises(ValueError, match='work_dir: .*cannot be made or written .*file.*--work-dir'):
            claim(tmp_path / path)


def test_a_folder_that_cannot_be_written(tmp_path):
    closed = tmp_path / 'closed'
    closed.mkdir(mode=0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(ValueError, match=r'cannot be made or written \(Permission denied'):
            claim(closed)
    finally:
        if root:
            os.seteuid(0)


def test_no_room_is_said_before_the_first_iteration(tiny_cfg, runs, tmp_path, monkeypatch):
    usage = shutil.disk_usage('/')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=2**20))
    with pytest.raises(ValueError, match='has 0.00 GB free, and a checkpoint of this run .*Make room'):
        runs.train(tiny_cfg(iters=2), tmp_path)
    assert not list(tmp_path.glob('*.pth'))


@contextlib.contextmanager
def file_limit(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_limit_of_file_sizes_is_said_before_the_first_iteration(tiny_cfg, runs, tmp_path):
    with file_limit(2**19), pytest.raises(ValueError, match=r'up to 524,288 bytes \(ulimit -f\)'):
        runs.train(tiny_cfg(iters=2), tmp_path)


@pytest.mark.parametrize('optimizer', [dict(type='SGD', lr=0.1, momentum=0.9), dict(type='AdamW', lr=1e-3)])
@pytest.mark.parametrize('ema', [False, True])
def test_the_estimate_is_the_size_of_a_checkpoint(tiny_cfg, runs, tmp_path, monkeypatch, optimizer, ema):
    sizes = []
    estimate = room.checkpoint_size
    monkeypatch.setattr(room, 'checkpoint_size', lambda runner: sizes.append(estimate(runner)) or sizes[-1])
    cfg = tiny_cfg(iters=2, custom_hooks=[dict(type='EMAHook')] if ema else [])
    cfg.optim_wrapper.optimizer = optimizer
    runs.train(cfg, tmp_path)
    small = 150_000  # names, the log's numbers and the zip archive
    assert abs((tmp_path / 'iter_2.pth').stat().st_size - sizes[0][1]) < small + 0.1 * sizes[0][1]


# ---------------------------------------------------------------- a save that fails


class Limit(Hook):
    """Lets the process write small files only, from one iteration to another."""

    priority = 'VERY_HIGH'

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.limit = file_limit(100_000)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.first:
            self.limit.__enter__()
        if runner.iter == self.last:
            self.limit.__exit__(None, None, None)


def test_a_failed_save_keeps_the_older_checkpoint_and_training_goes_on(tiny_cfg, runs, tmp_path):
    """Two saves fail, the third holds again."""
    cfg = tiny_cfg(iters=8)
    cfg.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=1)
    seen = []
    look = Hook()
    look.after_train_iter = lambda runner, *args, **kwargs: seen.append(
        sorted(p.name for p in tmp_path.iterdir() if 'iter' in p.name)
    )
    look.priority = 'LOWEST'
    runner = runs.train(cfg, tmp_path, hooks=(Limit(2, 6), look))
    log = next((tmp_path / runner.timestamp).glob('*.log')).read_text()
    assert 'iter_4.pth could not be saved' in log and '1 of at most 3 failures in a row' in log
    assert 'iter_6.pth could not be saved' in log and '2 of at most 3 failures in a row' in log
    assert seen[3] == seen[5] == ['iter_2.pth']
    assert seen[7] == ['iter_8.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_8.pth')


def test_the_fourth_failure_in_a_row_ends_the_run(tiny_cfg, runs, tmp_path):
    cfg = tiny_cfg(iters=12)
    limit = Limit(2, 100)
    with contextlib.ExitStack() as stack:
        stack.callback(limit.limit.__exit__, None, None, None)
        with pytest.raises(OSError, match='no room on the disk, or a limit of file sizes'):
            runs.train(cfg, tmp_path, hooks=(limit,))
    torch.load(tmp_path / 'iter_2.pth', weights_only=False)
    assert not list(tmp_path.glob('.*.part'))


def test_a_full_disk_is_an_error_of_the_disk(tmp_path):
    """torch's own writer says RuntimeError; the old file stays."""
    path = tmp_path / 'a.pth'
    write_checkpoint(dict(a=torch.zeros(10)), str(path))
    with file_limit(50_000), pytest.raises(OSError, match='no room on the disk'):
        write_checkpoint(dict(a=torch.zeros(100_000)), str(path))
    assert torch.load(path)['a'].numel() == 10 and list(tmp_path.iterdir()) == [path]
