"""The same work on many files, in several processes, with a progress bar."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2
from tqdm import tqdm

CHUNK = 8  # jobs that a process takes at once


def check_workers(workers: int | None) -> int:
    """Number of processes: the given one, or the number of cores that this process may use."""
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f'workers: got {workers!r}, expected 1 or more')
    return workers


def run_parallel(
    work: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int | None = None,
    title: str | None = None,
    unit: str = 'file',
) -> Iterator[Any]:
    """Yield the result of each job, in the order of the jobs, as soon as it is there.

    The processes are forks, so that they need not import this package again, which takes seconds (joblib's
    do). ``work`` and its results travel by pickle. With one worker everything happens in this process.

    Args:
        work (Callable): The work; an error ends everything.
        jobs (Sequence): Its arguments.
        workers (int | None): Processes. Defaults to None, the number of cores.
        title (str | None): Of a progress bar on stderr. Defaults to None, no bar.
        unit (str): What a job is, for the bar. Defaults to 'file'.

    Raises:
        BrokenProcessPool: A process was killed, most often because memory ran out.
    """
    workers = min(check_workers(workers), max(1, -(-len(jobs) // CHUNK)))
    interval = 0.2 if sys.stderr.isatty() else 30
    bar = dict(total=len(jobs), unit=unit, disable=title is None, dynamic_ncols=True, mininterval=interval)
    if workers == 1:
        yield from tqdm(map(work, jobs), title, **bar)
        return
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork: a process that ends them there hangs
    fork = multiprocessing.get_context('fork')
    pool = ProcessPoolExecutor(workers, fork, initializer=_start_worker)
    try:
        yield from tqdm(pool.map(work, jobs, chunksize=CHUNK), title, **bar)
    except BrokenProcessPool as error:
        text = f'{title or "parallel work"}: a process was killed, most often because memory ran out'
        raise BrokenProcessPool(f'{text}. Try --workers {workers // 2 or 1}') from error
    finally:
        _shut_down(pool)


def _shut_down(pool: ProcessPoolExecutor) -> None:
    """Let the processes finish; a second Ctrl-C meanwhile would leave all of them waiting for ever."""
    handled = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if handled else None
    try:
        pool.shutdown(wait=True, cancel_futures=True)
    finally:
        if handled:
            signal.signal(signal.SIGINT, before)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, so that a file which is being written is finished; end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes, and they would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)  # at once: sys.exit would end this thread alone
