"""The same work on many files, in several processes, with a progress bar."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

CHUNK = 8  # jobs that a process takes at once


def check_workers(workers: int | None) -> int:
    """Number of processes: the given one, or that of the cores which this process may use."""
    if workers is None:
        return len(os.sched_getaffinity(0))
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
    """What ``work`` gives for each job, in the order of the jobs, as soon as it is there.

    The processes are forks, so that they share what is in memory already; ``work`` and its results travel by
    pickle. With one worker all happens in this process.

    Args:
        work (Callable): The work; an error ends everything.
        jobs (Sequence): Its arguments.
        workers (int | None): Processes. Defaults to None, the number of cores.
        title (str | None): Title of a progress bar on stderr: one line that moves on a terminal, one every
            half a minute in a log. Defaults to None, no bar.
        unit (str): What a job is, for the bar. Defaults to 'file'.

    Raises:
        BrokenProcessPool: A process was killed, most often for want of memory.
    """
    workers = min(check_workers(workers), max(1, -(-len(jobs) // CHUNK)))
    if workers == 1:
        yield from _with_bar(map(work, jobs), len(jobs), title, unit)
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context('fork'), initializer=_start_worker
    )
    try:
        with _single_thread():
            results = pool.map(work, jobs, chunksize=CHUNK)
        yield from _with_bar(results, len(jobs), title, unit)
    except BrokenProcessPool as error:
        raise BrokenProcessPool(
            f'{title or "parallel work"}: a process was killed, most often for want of memory. Try '
            f'--workers {workers // 2 or 1}'
        ) from error
    finally:
        _shut_down(pool)


@contextmanager
def _single_thread() -> Iterator[None]:
    """Fork processes in which OpenCV has one thread. Its threads do not survive a fork: a process that ends
    them there hangs.
    """
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _shut_down(pool: ProcessPoolExecutor) -> None:
    """Let the processes finish their jobs; a second Ctrl-C meanwhile would leave them, and this process,
    waiting for ever.
    """
    handled = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if handled else None
    try:
        pool.shutdown(wait=True, cancel_futures=True)
    finally:
        if handled:
            signal.signal(signal.SIGINT, before)


def _start_worker() -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is the parent's; a file that is being written is finished
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes, and they would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _with_bar(results: Iterator[Any], count: int, title: str | None, unit: str) -> Iterator[Any]:
    if title is None:
        yield from results
        return
    from tqdm import tqdm

    yield from tqdm(
        results,
        title,
        count,
        file=sys.stderr,
        unit=unit,
        dynamic_ncols=True,
        mininterval=0.2 if sys.stderr.isatty() else 30,
    )
