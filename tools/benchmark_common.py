"""What the benchmarks share: ways that take turns, so that whatever else the machine does falls on all of them."""
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def alternate(ways: dict[str, Callable],
              repeats: int,
              warmup: int = 1,
              prepare: Callable[[], tuple] = tuple) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Call each of ``ways`` in turn, round after round, and time the calls.

    Args:
        ways (dict[str, Callable]): What is compared.
        repeats (int): Rounds that are timed.
        warmup (int): Rounds before them, which are not. Defaults to 1.
        prepare (Callable): Gives, at the start of each round and outside of the times, the arguments that all ways get in that
            round. Defaults to none.

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


def value_and_gradient(way: Callable[[], torch.Tensor], tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward and backward of a loss: its value, and its gradient by ``tensor``."""
    value = way()
    (gradient,) = torch.autograd.grad(value, tensor)
    return value.detach(), gradient


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():  # kernels run on after the call that started them
        torch.cuda.synchronize()
