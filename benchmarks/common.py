"""What the benchmarks share: ways take turns, so that other load of the machine falls on all of them."""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Value = tuple[torch.Tensor, torch.Tensor]  # of a loss, and its gradient


def loss_parser(doc: str, repeats: int) -> argparse.ArgumentParser:
    """The arguments that all benchmarks of losses take; ``doc`` is the docstring of the module."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=repeats)
    parser.add_argument('--threads', type=int, default=1, help='CPU threads')
    parser.add_argument('--device', default='cpu')
    return parser


def alternate(
    ways: dict[str, Callable], repeats: int, warmup: int = 1, prepare: Callable[[], tuple] = tuple
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Call each of ``ways`` in turn, round after round, and time the calls.

    Args:
        ways (dict[str, Callable]): What is compared.
        repeats (int): Rounds that are timed.
        warmup (int): Rounds before them, which are not. Defaults to 1.
        prepare (Callable): Gives the arguments of all ways at the start of a round, outside of the times.
            Defaults to none.

    Returns:
        tuple: Seconds of every timed call, and what each way returned last; both by name.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for turn in range(warmup + repeats):
        arguments = prepare()
        for name, way in ways.items():
            _wait_for_gpu()
            start = time.perf_counter()
            results[name] = way(*arguments)
            _wait_for_gpu()
            if turn >= warmup:
                times[name].append(time.perf_counter() - start)
    return times, results


def median_min_max(seconds: list[float], factor: float = 1.0) -> tuple[float, float, float]:
    """The three figures of a row; ``factor`` is for the unit."""
    return factor * statistics.median(seconds), factor * min(seconds), factor * max(seconds)


def value_and_gradient(way: Callable[[], torch.Tensor], tensor: torch.Tensor) -> Value:
    """Forward and backward of a loss: its value, and its gradient by ``tensor``."""
    value = way()
    (gradient,) = torch.autograd.grad(value, tensor)
    return value.detach(), gradient


def compare(
    make: Callable[[argparse.Namespace], dict[str, Callable]], args: argparse.Namespace
) -> dict[str, Any]:
    """Print a table of ways' times and peak memory.

    Args:
        make (Callable): A function of a module, or a partial of one, that makes the ways from ``args``; the
            first is the base of the ratios.
        args (Namespace): With ``threads``, ``repeats`` and ``device``.

    Returns:
        dict: What each way returned last.
    """
    ways = make(args)
    times, results = alternate(ways, args.repeats)
    del ways
    memory = {name: peak_memory(make, name, args) for name in times}
    first = next(iter(times))
    base = median_min_max(times[first], 1e3)[0]
    print(f'{"":>14} {"ms (min - max)":>24} {"ratio":>7} {"peak MB":>9} {"ratio":>7}')
    for name, seconds in times.items():
        middle, low, high = median_min_max(seconds, 1e3)
        time_cells = f'{f"{middle:.0f} ({low:.0f} - {high:.0f})":>24} {middle / base:7.2f}'
        print(f'{name:>14} {time_cells} {memory[name] / 2**20:9.0f} {memory[name] / memory[first]:7.2f}')
    return results


def check_agreement(results: dict[str, Value], way: str, reference: str) -> None:
    """Raise unless two ways gave the same value and gradient."""
    (value, gradient), (expected, wanted) = results[way], results[reference]
    torch.testing.assert_close(value, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
    print('value and gradient agree')


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
    call = make(args)[way]
    if args.device.startswith('cuda'):
        before = torch.cuda.memory_allocated()
        call()
        queue.put(torch.cuda.max_memory_allocated() - before)
        return
    Path('/proc/self/clear_refs').write_text('5')  # the peak so far is that of the imports
    before = _resident('VmRSS')
    call()
    queue.put(max(_resident('VmHWM') - before, 1))


def _resident(field: str) -> int:
    """Bytes of this process in memory: now ('VmRSS') or at most ('VmHWM'). Linux only."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():  # kernels run on after the call that started them
        torch.cuda.synchronize()
