"""Stages of the demo: each runs a tool in its own process, once, and goes on where it was stopped."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kd_methods.utils.files import write_file
from kd_methods.utils.paths import REPO_ROOT

MARKER = 'stage.json'
EVERY = 10.0  # seconds between two lines of progress
_ITERATION = re.compile(
    r'Iter\((\w+)\) *\[ *(\d+/\d+)\](?:.*?\beta: (?:0:)?(\d+ days?, [\d:]+|[\d:]+))?(?:.*?\bloss: (\S+))?'
)


class StageError(ValueError):
    """A stage's process failed; the message has its last lines."""


def say(text: str) -> None:
    """Print a line with the time of day, at once."""
    print(f'{time.strftime("%H:%M:%S")}  {text}', flush=True)


@dataclass
class Stage:
    """A run of a tool whose result is kept.

    Attributes:
        title (str): What it does, for the lines of progress.
        folder (Path): Its own folder, which is removed if it holds the result of other settings.
        key (str): Hash of all that the result depends on.
        command (list): The tool and its arguments; with a checkpoint in the folder, ``--resume`` is added.
        result (str): File in the folder without which the stage is not done.
    """

    title: str
    folder: Path
    key: str
    command: list
    result: str

    def marker(self) -> dict:
        """What the folder says about its last run."""
        path = self.folder / MARKER
        return json.loads(path.read_text()) if path.is_file() else {}

    def is_done(self) -> bool:
        """Whether the result is there, of the same settings."""
        marker = self.marker()
        return marker.get('key') == self.key and marker['done'] and (self.folder / self.result).is_file()

    def run(self, env: Mapping[str, str]) -> None:
        """Run the tool unless the stage is done.

        Raises:
            StageError: The tool failed, or left no result.
        """
        if self.is_done():
            return say(f'{self.title}: done before')
        marker = self.marker()
        if self.folder.exists() and marker.get('key') != self.key:
            if any(self.folder.iterdir()):
                say(f'{self.title}: its settings have changed, so it starts anew')
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        last = self.folder / 'last_checkpoint'
        resume = last.is_file()
        say(f'{self.title}: {f"goes on from {Path(last.read_text()).name}" if resume else "starts"}')
        before, start, done = marker.get('seconds', 0.0) if resume else 0.0, time.monotonic(), False
        self._mark(before, done)
        try:
            output = self.folder / 'output.txt'
            run_process(self.title, [*self.command, *['--resume'] * resume], env, output)
            done = (self.folder / self.result).is_file()
        finally:
            seconds = before + time.monotonic() - start
            self._mark(seconds, done)
        if not done:
            raise StageError(f'{self.title}: wrote no {self.folder / self.result}; its output is in {output}')
        say(f'{self.title}: done in {clock(seconds)}')

    def _mark(self, seconds: float, done: bool) -> None:
        marker = dict(key=self.key, done=done, seconds=round(seconds, 1))
        write_file(json.dumps(marker, indent=2) + '\n', self.folder / MARKER)


def run_process(title: str, command: list, env: Mapping[str, str], output: Path) -> None:
    """Run a tool, add its output to a file, and tell its progress from there.

    Raises:
        StageError: It failed.
        KeyboardInterrupt: It, or this process, was interrupted.
    """
    with open(output, 'ab') as file:
        begin, start = file.tell(), time.monotonic()
        command = [sys.executable, '-u', *map(str, command)]
        # The process inherits the lock of the folder, which thus outlives a demo that is killed.
        process = subprocess.Popen(
            command, cwd=REPO_ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, close_fds=False
        )
    code = None
    try:
        while code is None:
            try:
                code = process.wait(EVERY)
            except subprocess.TimeoutExpired:
                text = output.read_bytes()[begin:].decode(errors='replace')
                say(f'{title}: {progress(text) or "at work for " + clock(time.monotonic() - start)}')
    except BaseException:
        _stop(process)
        raise
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        tail = output.read_text(errors='replace').splitlines()[-25:]
        failed = f'{title}: failed (exit code {code}); the whole output is in {output}'
        raise StageError('\n'.join([*tail, failed]))


def progress(text: str) -> str:
    """The last iteration in mmengine's log, in a few words; '' without any."""
    mode, done, eta, loss = ([('', '', '', '')] + _ITERATION.findall(text))[-1]
    words = [f'{mode} {done}', f'loss {loss}' * bool(loss), f'{eta} left' * bool(eta)]
    return ', '.join(filter(None, words)) if mode else ''


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d} min'


def _stop(process: subprocess.Popen) -> None:
    """End the process as Ctrl-C does, by force where it does not listen."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
