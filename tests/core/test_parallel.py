"""Work in several processes: order, errors, workers that are killed, the progress bar."""
import multiprocessing
import os
import signal
import time

import pytest

from kd_methods.core.parallel import CHUNK, check_workers, run_parallel

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
    with pytest.raises(RuntimeError, match='^Drawing: a process was killed.* Try --workers 1'):
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
