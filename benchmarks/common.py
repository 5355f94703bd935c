"""What the benchmarks share: ways take turns, so that other load of the machine falls on all of them."""

import argparse
import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def alternate(
    ways: dict[str, Callable], repeats: int, warmup: int = 1
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Call each of ``ways`` in turn, round after round, and time the calls.

    Args:
        ways (dict[str, Callable]): What is compared.
        repeats (int): Rounds that are timed.
        warmup (int): Rounds before them, which are not. Defaults to 1.

    Returns:
        tuple: Seconds of every timed call, and what each way returned last; both by name.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for turn in range(warmup + repeats):
        for name, way in ways.items():
            _wait_for_gpu()
            start = time.perf_counter()
            results[name] = way()
            _wait_for_gpu()
            if turn >= warmup:
                times[name].append(time.perf_counter() - start)
    return times, results


def median_min_max(seconds: list[float], factor: float = 1.0) -> tuple[float, float, float]:
    """The three figures of a row; ``factor`` is for the unit."""
    return factor * statistics.median(seconds), factor * min(seconds), factor * max(seconds)


def peak_memory(make: Callable, way: str, args: argparse.Namespace) -> int:
    """Bytes that one call of a way needs beyond its inputs, in a new process."""
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=_peak, args=(make, way, args, queue))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f'{way}: the process that measures its memory ended with {process.exitcode}')
    return queue.get()


def _peak(make: Callable, way: str, args: argparse.Namespace, queue: multiprocessing.Queue) -> None:
    torch.set_num_threads(args.threads)
    queue.put(peak_of(make(args)[way], args.device))


def peak_of(call: Callable, device: str = 'cpu') -> int:
    """Bytes that a call needs beyond what there is, here; it is exact where little was freed before."""
    if device.startswith('cuda'):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
    Path('/proc/self/clear_refs').write_text('5')  # the peak so far is that of what came before
    before = _resident('VmRSS')
    call()
    return max(_resident('VmHWM') - before, 1)


def _resident(field: str) -> int:
    """Bytes of this process in memory: now ('VmRSS') or at most ('VmHWM'). Linux only."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():  # kernels run on after the call that started them
        torch.cuda.synchronize()
