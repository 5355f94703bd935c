"""Tools in processes of their own: how far they are, and their end with this process."""

import contextlib
import ctypes
import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kd_methods.utils.files import exclusive_folder

POLL = 0.2  # seconds
#: Exit codes of a tool that a signal ended.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ENDED = {code for number in _SIGNALS for code in (128 + number, -number)}
_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None
_ITERATION = re.compile(
    r'(?:Iter|Epoch)\((\w+)\) *(\[ *\d+/\d+\](?:\[ *\d+/\d+\])?|\[ *\d+\]\[ *\d+/\d+\])'
    r'(?:.*?\beta: (?:0:)?(\d+ days?, [\d:]+|[\d:]+))?(?:.*?\bloss: (\S+))?'
)


def say(text: str) -> None:
    """Print a line with the time of day, at once."""
    print(f'{time.strftime("%H:%M:%S")}  {text}', flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes."""
    minutes, rest = divmod(int(seconds), 60)
    return f'{minutes // 60} h {minutes % 60:02d} min' if minutes >= 100 else f'{minutes}:{rest:02d} min'


def progress(text: str) -> str:
    """The last iteration in mmengine's log, in a few words; '' without any."""
    mode, done, eta, loss = ([('', '', '', '')] + _ITERATION.findall(text))[-1]
    done = done.replace('][', ', ').replace(' ', '').strip('[]').replace(',', ', ')
    words = [f'{mode} {done}', f'loss {loss}' * bool(loss), f'{eta} left' * bool(eta)]
    return ', '.join(filter(None, words)) if mode else ''


@contextlib.contextmanager
def waiting_for(folder: Path, what: str, patience: float = 60.0) -> Iterator[int]:
    """Make a folder this process's own; the trainings of one that was killed get the time to save and end.

    Raises:
        ValueError: Another process is still at work there after ``patience`` seconds.
    """
    start, busy, told = time.monotonic(), f'{what} is at work in {folder}; wait for it, or end it.', False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                lock = stack.enter_context(exclusive_folder(folder, busy))
                break
            except ValueError as error:
                if str(error) != busy or time.monotonic() - start > patience:
                    raise
                if not told:
                    say(f'{what} is at work in {folder}, or its trainings are just ending: waiting for them')
                told = True
                time.sleep(POLL)
        yield lock


class Process:
    """A tool in a process of its own, whose output goes to a file.

    It ends as by SIGTERM when this process ends in any way (Linux; elsewhere, unless this one is killed).

    Args:
        command (Sequence): The tool's file and its arguments.
        output (Path): Its output is added there.
        env (Mapping[str, str]): Its environment.
        lock (int | None): File to hold open, the lock of a folder. Defaults to None.
    """

    def __init__(
        self, command: Sequence, output: Path, env: Mapping[str, str], lock: int | None = None
    ) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        self.output, self.start = output, time.monotonic()
        with open(output, 'ab') as file:
            self.begin = file.tell()
            self.process = subprocess.Popen(
                [sys.executable, '-u', *map(str, command)],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C comes through `stop` alone, once
                pass_fds=[] if lock is None else [lock],
                preexec_fn=functools.partial(_end_with, os.getpid()) if _LIBC else None,
            )

    def text(self) -> str:
        """What it has written."""
        return self.output.read_bytes()[self.begin :].decode(errors='replace')

    def words(self) -> str:
        """How far it is."""
        return progress(self.text()) or f'at work for {clock(time.monotonic() - self.start)}'

    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    def failure(self) -> str:
        """Its last lines and where all are."""
        tail = self.text().splitlines()[-25:]
        return '\n'.join([*tail, f'(exit code {self.code()}; the whole output is in {self.output})'])


def _end_with(parent: int) -> None:
    _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it has ended already
        os._exit(128 + signal.SIGTERM)


def stop(processes: Sequence[Process], patience: float = 30.0) -> None:
    """End processes by SIGTERM, all at once, and by force those that do not listen.

    Not by SIGINT: what is started in the background of a shell ignores it, and so do its own processes.
    """
    for process in processes:
        process.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + patience
    for process in processes:
        try:
            process.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.process.kill()
            process.process.wait()
