"""A signal ends a run between two iterations, with a checkpoint to go on from."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from kd_methods.hooks.checkpoint import WholeCheckpointHook

#: By kill, queues and services; by Ctrl-C; by Slurm some time before a job's limit.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
#: Processes ask each other after so many batches of a validation.
VAL_STEPS = 10


class Stopped(KeyboardInterrupt):
    """A signal ended the run; the text says what was saved.

    Args:
        number (int): The signal. The exit code is 128 more.
        text (str): What to tell.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


@HOOKS.register_module()
class StopOnSignalHook(Hook):
    """On SIGTERM, SIGINT or SIGUSR1 finish the iteration, save a checkpoint, and raise :class:`Stopped`.

    A validation ends after its batch; the checkpoint is that of the iteration before it, and the resumed run
    validates first (:class:`~kd_methods.engine.runner.WholeRunner`). A second signal ends it at once. Of
    several processes each may get the signal, or one alone: all end after the same iteration. Before the
    first iteration signals are left to ``run_tool``.

    Workers of data loaders leave signals to the process that started them, since the terminal and Slurm send
    them to all.
    """

    # Last of all: what this iteration has to save is saved, and all hooks have seen the iteration.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._received = 0  # the handler alone changes it, at any moment
        self._number = 0  # of the signal that all processes know of
        self._before: dict[int, Any] = {}  # the handlers that were there
        self._process = 0
        self._val_batches = 0  # of the process with the fewest

    def before_train(self, runner) -> None:
        """Let workers outlive a signal that is sent to all processes."""
        ending = multiprocessing.RawValue('b', 0)
        atexit.register(setattr, ending, 'value', 1)
        for loop in (runner.train_loop, runner.val_loop):
            loader = getattr(loop, 'dataloader', None)
            if isinstance(loader, DataLoader) and loader.num_workers > 0:
                loader.worker_init_fn = partial(_init_worker, loader.worker_init_fn, ending)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Listen, from the first iteration on."""
        if not self._before and threading.current_thread() is threading.main_thread():
            self._process = os.getpid()
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Stop here, unless the epoch ends here."""
        loop = runner.train_loop
        if self._agreed() and not (
            isinstance(loop, EpochBasedTrainLoop) and batch_idx + 1 == len(loop.dataloader)
        ):
            self._stop(runner, runner.epoch, runner.iter + 1, within_epoch=True)

    def after_train_epoch(self, runner) -> None:
        """Stop after the last iteration of an epoch."""
        if self._number and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._stop(runner, runner.epoch + 1, runner.iter)

    def before_val(self, runner) -> None:
        """Processes may have different numbers of batches."""
        if self._before:
            batches = torch.tensor(len(runner.val_loop.dataloader))
            all_reduce(batches, 'min')
            self._val_batches = int(batches)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop here, with the training's weights in their place."""
        every = VAL_STEPS if get_world_size() > 1 else 1
        if self._before and (batch_idx + 1) % every == 0 and batch_idx < self._val_batches and self._agreed():
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # gives the averaged weights back
            self._stop(runner, runner.epoch, runner.iter)

    def after_val(self, runner) -> None:
        """Stop after the metrics."""
        if self._before and self._agreed():
            self._stop(runner, runner.epoch, runner.iter)

    def after_train(self, runner) -> None:
        """A run that is at its end ends by itself."""
        self.give_back()

    def give_back(self) -> None:
        """Give the handlers back, also where a training fails."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _agreed(self) -> int:
        """The signal that any of the processes has; 0 if none has."""
        number = torch.tensor(self._received)
        all_reduce(number, 'max')
        self._number = int(number)
        return self._number

    def _stop(self, runner, epoch: int, iteration: int, within_epoch: bool = False) -> None:
        within_epoch = within_epoch or not isinstance(runner.train_loop, EpochBasedTrainLoop)
        hook = next((h for h in runner.hooks if isinstance(h, WholeCheckpointHook)), None)
        path = hook.save_now(runner, epoch, iteration, within_epoch) if hook is not None else ''
        barrier()  # a launcher that sees one process end ends the others
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)  # all is done
        saved = f'saved in {path}' if path else 'NOT saved'
        name = signal.Signals(self._number).name
        text = f'{name} ended the training after iteration {iteration}, {saved}'
        runner.logger.info(f'{text}.')
        raise Stopped(self._number, text)

    def _handle(self, number: int, frame: Any) -> None:
        """Note the first signal, end at the second."""
        if os.getpid() != self._process:  # a fork, such as a worker that is just starting
            _as_by_default(number)
        elif not self._received:
            self._received = number
            name = signal.Signals(number).name
            _say(f'{name}: this iteration is finished and saved; a second signal ends the training at once.')
        else:
            _say('The second signal: the training ends at once. Nothing was saved since the last checkpoint.')
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)


def _say(text: str) -> None:
    """Tell something while the process may be in the middle of printing."""
    if is_main_process():
        with contextlib.suppress(OSError):
            os.write(2, f'\n{text}\n'.encode())


def _as_by_default(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _init_worker(inner: Callable | None, ending: Any, worker: int) -> None:
    """In a worker, which ends with its loader, or as its process is ending.

    Args:
        inner (Callable | None): The loader's own function.
        ending (RawValue): 1 as soon as the process that started the worker is ending.
        worker (int): Number of the worker.
    """

    def terminate(number: int, frame: Any) -> None:
        if ending.value:
            # Not by the signal: torch's SIGCHLD handler raises in a process whose worker was killed, also
            # while multiprocessing waits for it at the very end.
            os._exit(0)

    signal.signal(signal.SIGTERM, terminate)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if inner is not None:
        inner(worker)
