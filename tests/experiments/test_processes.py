"""Tools in processes: what they hold, what ends them, what is read from their output."""

import os
import signal
import sys
import time

import psutil
import pytest

from kd_methods.experiments import processes
from kd_methods.utils.files import exclusive_folder


@pytest.mark.skipif(sys.platform != 'linux', reason='Linux alone tells a process that its parent has ended')
def test_processes_end_with_one_that_is_killed(tmp_path):
    code = 'import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)'
    killed = os.fork()
    if not killed:
        try:
            process = processes.Process(['-c', code], tmp_path / 'output.txt', os.environ)
            while not process.text():
                time.sleep(0.02)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(killed, 0)
    pid, end = int((tmp_path / 'output.txt').read_text()), time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_does_not_listen_is_killed(tmp_path):
    code = 'import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint("deaf", flush=True)\ntime.sleep(60)'
    process = processes.Process(['-c', code], tmp_path / 'output.txt', os.environ)
    while 'deaf' not in process.text():
        time.sleep(0.02)
    processes.stop([process], patience=0.2)
    assert process.code() == -signal.SIGKILL


def test_a_folder_is_waited_for(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(processes, 'say', said.append)
    with (
        exclusive_folder(tmp_path),
        pytest.raises(ValueError, match='another sweep is at work in .*wait for it'),
    ):
        with processes.waiting_for(tmp_path, 'another sweep', patience=0.3):
            pass
    assert len(said) == 1 and 'waiting for them' in said[0]
    with processes.waiting_for(tmp_path, 'another sweep', patience=0):
        pass


def test_a_process_holds_the_lock(tmp_path):
    with exclusive_folder(tmp_path) as lock:
        process = processes.Process(['-c', 'import time; time.sleep(1)'], tmp_path / 'out', os.environ, lock)
    with pytest.raises(ValueError), exclusive_folder(tmp_path):
        pass
    process.process.wait()
    with exclusive_folder(tmp_path):
        pass


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
        (
            'INFO - Epoch(train)  [1][ 50/250]  eta: 0:04:50  loss: 2.5',
            'train 1, 50/250, loss 2.5, 04:50 left',
        ),
        ('INFO - Epoch(val) [12][3/9]  mIoU: 5', 'val 12, 3/9'),
        ('INFO - Iter(val) [1/3]\nINFO - Iter(train) [2/9]\nINFO - Saving', 'train 2/9'),
        ('INFO - Saving checkpoint at 250 iterations', ''),
    ],
)
def test_progress(line, words):
    assert processes.progress(line) == words


def test_clock():
    assert [processes.clock(s) for s in (0, 65.9, 5999, 6000)] == [
        '0:00 min',
        '1:05 min',
        '99:59 min',
        '1 h 40 min',
    ]
