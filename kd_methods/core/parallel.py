"""The same work on many files, in several processes, with a progress bar."""
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

CHUNK = 8  # jobs that a process takes at once


def check_workers(workers: int | None) -> int:
    """Number of processes: the given one, or that of the cores which this process may use."""
    if workers is None:
        return len(os.sched_getaffinity(0))
    if workers < 1:
        raise ValueError(f'workers: got {workers!r}, expected 1 or more')
    return workers


def run_parallel(work: Callable[[Any], Any], jobs: Sequence[Any], workers: int | None = None, title: str | None = None,
                 unit: str = 'file') -> Iterator[Any]:
    """What ``work`` gives for each job, in the order of the jobs, as soon as it is there.

    The processes are forks, so that they share what is in memory already; ``work`` and its results travel by pickle. With one
    worker all happens in this process.

    Args:
        work (Callable): The work; an error ends everything.
        jobs (Sequence): Its arguments.
        workers (int | None): Processes. Defaults to None, the number of cores.
        title (str | None): Title of a progress bar on stderr: one line that moves on a terminal, one every half a minute in a
            log. Defaults to None, no bar.
        unit (str): What a job is, for the bar. Defaults to 'file'.

    Raises:
        RuntimeError: A process was killed, most often for want of memory.
    """
    workers = min(check_workers(workers), max(1, -(-len(jobs) // CHUNK)))
    if workers == 1:
        yield from _with_bar(map(work, jobs), len(jobs), title, unit)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context('fork'), initializer=_start_worker)
    try:
        yield from _with_bar(pool.map(work, jobs, chunksize=CHUNK), len(jobs), title, unit)
    except BrokenProcessPool as error:
        raise RuntimeError(f'{title or "parallel work"}: a process was killed, most often for want of memory. Try --workers '
                           f'{workers // 2 or 1}') from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    import cv2
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; a file that is being written is finished
    cv2.setNumThreads(1)


def _with_bar(results: Iterator[Any], count: int, title: str | None, unit: str) -> Iterator[Any]:
    if title is None:
        yield from results
        return
    from tqdm import tqdm
    yield from tqdm(results, title, count, file=sys.stderr, unit=unit, dynamic_ncols=True,
                    mininterval=0.2 if sys.stderr.isatty() else 30)
