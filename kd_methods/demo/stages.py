"""Stages of a long job: each runs a tool as a process of its own, once, and goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd_methods.networks.config import is_distillation, load_config, resolve_model_cfg
from kd_methods.utils.files import write_file
from kd_methods.utils.paths import REPO_ROOT

MARKER = 'stage.json'
QUIET = 12.0  # seconds without a word after which the stage says that it is alive
EVERY = 4.0  # seconds between two lines of progress, at least

_ITERATION = re.compile(r'Iter\((train|val|test)\)\s*\[\s*(\d+)/(\d+)\s*\](.*)')
_ETA = re.compile(r'\beta: (?:0:)?([\d:]+|\d+ days?, [\d:]+)')
_LOSS = re.compile(r'\bloss: ([-\d.naif]+)')
_WHAT = dict(train='iteration', val='validation image', test='image')


class StageError(RuntimeError):
    """A stage's process failed; the message ends with its last lines."""


def digest(value: Any) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """A short hash of a file's content."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def run_config(path: str | Path, options: Mapping[str, Any]) -> Config:
    """A config with the overrides of a run, and in a distillation config both networks as full model dicts."""
    cfg = load_config(path, 'CONFIG')
    cfg.merge_from_dict(dict(options))
    if is_distillation(cfg):
        for key in ('architecture', 'teacher'):
            cfg.model[key] = resolve_model_cfg(cfg.model[key], f'model.{key}')
    return cfg


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Overrides in the form of the command line."""
    if not options:
        return []
    return ['--cfg-options', *(f'{k}={v}'.replace(' ', '') for k, v in options.items())]


def is_done(folder: Path, key: str) -> bool:
    """Whether the stage of a folder was finished with the same settings."""
    marker = _read(folder)
    return marker.get('key') == key and marker.get('state') == 'done'


def run_stage(
    title: str,
    folder: Path,
    key: str,
    command: Callable[[bool], list],
    env: Mapping[str, str],
    *,
    result: str,
    say: Callable[[str], None] = print,
    pass_fds: tuple[int, ...] = (),
) -> bool:
    """Run a stage unless it is finished.

    Args:
        title (str): What the stage does, for the lines of progress.
        folder (Path): The stage's own folder. It is removed where it holds the outcome of other settings.
        key (str): Hash of everything that the outcome depends on.
        command (Callable): From "is there something to go on from" to the command line.
        env (Mapping): Environment of the process.
        result (str): File in the folder without which the stage is not finished.
        say (Callable): Where progress goes. Defaults to print.
        pass_fds (tuple): Open files that the process shares. Defaults to ().

    Returns:
        bool: Whether anything had to be run.
    """
    marker = _read(folder)
    if is_done(folder, key) and (folder / result).is_file():
        say(f'{title}: done before')
        return False
    if marker.get('key') != key and folder.exists():
        if any(folder.iterdir()):
            say(f'{title}: its settings have changed, so it starts anew')
        shutil.rmtree(folder)
    resume = (folder / 'last_checkpoint').is_file()
    folder.mkdir(parents=True, exist_ok=True)
    seconds = marker.get('seconds', 0.0) if resume else 0.0
    _write(folder, key=key, state='running', seconds=seconds)
    say(f'{title}: {"goes on from " + _last_checkpoint(folder) if resume else "starts"}')
    start = time.monotonic()
    try:
        run_process(title, command(resume), env, folder / 'output.txt', say, pass_fds)
    finally:
        seconds += time.monotonic() - start
        _write(folder, key=key, state='running', seconds=round(seconds, 1))
    if not (folder / result).is_file():
        raise StageError(
            f'{title}: ended without writing {folder / result}; its output is in {folder / "output.txt"}'
        )
    _write(folder, key=key, state='done', seconds=round(seconds, 1))
    say(f'{title}: done in {clock(seconds)}')
    return True


def run_process(
    title: str,
    command: list,
    env: Mapping[str, str],
    output: Path,
    say: Callable[[str], None] = print,
    pass_fds: tuple[int, ...] = (),
) -> None:
    """Run a tool, keep its output in a file, and pass on what it says about its progress.

    Raises:
        StageError: It failed.
        KeyboardInterrupt: It, or this process, was interrupted.
    """
    command = [sys.executable, '-u', *map(str, command)]
    process = subprocess.Popen(
        command,
        cwd=REPO_ROOT,
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        pass_fds=pass_fds,
    )
    lines: queue.Queue = queue.Queue()
    threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
    tail: deque[str] = deque(maxlen=25)
    start = told = time.monotonic()
    latest = ''
    try:
        with open(output, 'a', encoding='utf-8') as file:
            while True:
                try:
                    line = lines.get(timeout=1.0)
                except queue.Empty:
                    line = ''
                if line is None:
                    break
                if line:
                    file.write(line)
                    tail.append(line.rstrip())
                    latest = progress(line) or latest
                now = time.monotonic()
                if latest and now - told >= EVERY:
                    say(f'{title}: {latest}')
                    latest, told = '', now
                elif now - told >= QUIET:
                    say(f'{title}: at work for {clock(now - start)}')
                    told = now
        code = process.wait()
    except BaseException:
        _stop(process)
        raise
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        raise StageError(
            '\n'.join([*tail, f'{title}: failed (exit code {code}); the whole output is in {output}'])
        )


def progress(line: str) -> str:
    """A line of mmengine's log in a few words; '' for all but progress."""
    found = _ITERATION.search(line)
    if not found:
        return ''
    mode, done, total, rest = found.groups()
    words = [f'{_WHAT[mode]} {done}/{total}']
    loss, eta = _LOSS.search(rest), _ETA.search(rest)
    if mode == 'train' and loss:
        words.append(f'loss {float(loss.group(1)):.3f}')
    if eta and int(done) < int(total):
        words.append(f'{eta.group(1)} left')
    elif mode != 'train' and 'mIoU: ' in rest:
        words = ['validated' if mode == 'val' else 'tested', f'mIoU {rest.split("mIoU: ")[1].split()[0]}']
    return ', '.join(words)


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d} min'


def _pump(stream: Any, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _stop(process: subprocess.Popen) -> None:
    """End the process the way Ctrl-C does, and wait; by force where it does not listen."""
    for action, patience in ((lambda: process.send_signal(signal.SIGINT), 20), (process.kill, None)):
        if process.poll() is not None:
            return
        action()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def _last_checkpoint(folder: Path) -> str:
    return Path((folder / 'last_checkpoint').read_text().strip()).name


def _read(folder: Path) -> dict:
    try:
        return json.loads((folder / MARKER).read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _write(folder: Path, **values: Any) -> None:
    write_file(json.dumps(values, indent=2) + '\n', folder / MARKER)
