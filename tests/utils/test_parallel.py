"""Work in several processes: order, errors, workers that are killed, the progress bar."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np
import pytest
from toys import ROOT

from kd_methods.utils.parallel import CHUNK, check_workers, run_parallel

MANY = 5 * CHUNK + 3


def square(number):
    time.sleep(0.002 * (number % 3))  # later jobs are done earlier
    return number * number


def process_of(number):
    time.sleep(0.002)
    return os.getpid()


def fail_at_20(number):
    if number == 20:
        raise KeyError('job 20')
    return number


def die_at_20(number):
    if number == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize('count', [0, 1, CHUNK, CHUNK + 1, MANY])
@pytest.mark.parametrize('workers', [1, 2, 3])
def test_results_come_in_the_order_of_the_jobs(count, workers):
    assert list(run_parallel(square, range(count), workers)) == [i * i for i in range(count)]


def test_several_processes_take_part():
    assert os.getpid() not in set(run_parallel(process_of, range(MANY), 2))


@pytest.mark.parametrize('count, workers', [(CHUNK, 4), (MANY, 1)], ids=['few-jobs', 'one-worker'])
def test_no_process_is_started_for_nothing(count, workers):
    assert set(run_parallel(process_of, range(count), workers)) == {os.getpid()}


@pytest.mark.parametrize('workers', [1, 2])
def test_an_error_of_a_job_ends_everything(workers):
    with pytest.raises(KeyError, match='job 20'):
        list(run_parallel(fail_at_20, range(MANY), workers))
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_said():
    with pytest.raises(BrokenProcessPool, match='^Drawing: a process was killed.* Try --workers 1'):
        list(run_parallel(die_at_20, range(MANY), 3, 'Drawing'))
    assert not multiprocessing.active_children()


def test_who_stops_asking_leaves_no_process():
    results = run_parallel(square, range(MANY), 2)
    assert next(results) == 0
    results.close()
    assert not multiprocessing.active_children()


def test_workers():
    assert check_workers(3) == 3 and check_workers(None) == len(os.sched_getaffinity(0))
    for workers in (0, -1):
        with pytest.raises(ValueError, match=f'workers: got {workers}, expected 1 or more'):
            list(run_parallel(square, range(3), workers))


@pytest.mark.parametrize('workers', [1, 2])
def test_the_bar_says_what_and_how_much(capfd, workers):
    list(run_parallel(square, range(MANY), workers, 'Drawing', 'label'))
    bar = capfd.readouterr().err
    assert 'Drawing' in bar and f'{MANY}/{MANY}' in bar and 'label' in bar


def test_no_bar_unless_asked(capfd):
    list(run_parallel(square, range(MANY), 2))
    assert capfd.readouterr().err == ''


def test_who_is_killed_leaves_no_process():
    script = (
        'import os, time\nfrom kd_methods.utils.parallel import run_parallel\n'
        'def work(job):\n    if job % 8 == 0:\n        os.write(1, b"%d\\n" % os.getpid())\n'
        '    time.sleep(0.01)\n'
        'list(run_parallel(work, range(100000), 2))\n'
    )
    parent = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    workers = set()
    while len(workers) < 2:
        workers.add(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate(timeout=60)  # ends when the last process that holds the pipe does


def resized(number):
    return cv2.getNumThreads(), cv2.resize(np.full((64, 64), number, np.uint8), (8, 8))[0, 0]


def test_opencv_threads_of_the_parent_do_not_hang_the_processes():
    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.float32), (31, 31), 5)  # starts its threads
        assert list(run_parallel(resized, range(MANY), 2)) == [(1, i) for i in range(MANY)]
    finally:
        cv2.setNumThreads(threads)


def interrupt_itself(number):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        return 'stopped'
    return number


def test_a_job_is_finished_when_ctrl_c_reaches_its_process_too():
    assert list(run_parallel(interrupt_itself, range(MANY), 2)) == list(range(MANY))


INTERRUPTED = """
import multiprocessing, os, signal, time
from kd_methods.utils.parallel import run_parallel
def work(job):
    if job in (2, 3):
        time.sleep(0.5 * (job - 2))  # the second while the first is being dealt with
        os.kill(os.getppid(), signal.SIGINT)
    time.sleep(0.1)
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    list(run_parallel(work, range(MANY), 2))
except KeyboardInterrupt:
    restored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print('interrupted', multiprocessing.active_children(), restored)
"""


def test_ctrl_c_twice_leaves_no_process():
    """In a process of its own: a signal that comes too late would end the tests."""
    script = INTERRUPTED.replace('MANY', str(MANY))
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.stdout == 'interrupted [] True\n', done.stderr
