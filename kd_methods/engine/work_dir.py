"""A run's folder: it can be written, one run at a time writes there, and no half-written file is left."""

import atexit
import errno
import fcntl
import os
import os.path as osp
import socket
import time
from pathlib import Path
from typing import TextIO

import psutil
from mmengine.config import Config

from kd_methods.engine.launch import read_ranks

#: Says who trains here: process, host, and when it started. It is locked as long as that process lives.
RECORD = '.running'
_REFUSED = (errno.EACCES, errno.EAGAIN)

_held: dict[str, TextIO] = {}


def claim(cfg: Config) -> None:
    """Make the work dir this process's own until it ends, and remove what a killed run left half-written.

    Only the first of several processes does it; a process may claim a folder again. The kernel gives the lock
    up when a process dies. On file systems without locks the record is believed, while its process lives.

    Args:
        cfg (Config): A run's config, with ``work_dir``.

    Raises:
        ValueError: The folder cannot be made or written, or another run is training there.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher != 'none' and read_ranks(launcher)[0] > 0:
        return
    work_dir = osp.realpath(cfg.work_dir)
    if work_dir not in _held:
        try:
            os.makedirs(work_dir, exist_ok=True)
            _held[work_dir] = _lock(work_dir)
        except OSError as error:
            raise ValueError(
                f'work_dir: {cfg.work_dir} cannot be made or written ({error.strerror}: {error.filename}). '
                'Give another --work-dir.'
            ) from error
        atexit.register(_release, work_dir, os.getpid())
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    folders = {work_dir}
    if isinstance(hook, dict) and isinstance(hook.get('out_dir'), str):
        folders.add(osp.join(hook['out_dir'], osp.basename(work_dir)))  # as CheckpointHook names it
    for folder in folders:
        for part in Path(folder).glob('.*.part'):
            part.unlink()


def _lock(work_dir: str) -> TextIO:
    """Open and lock the record, and write this process into it."""
    path = osp.join(work_dir, RECORD)
    while True:
        file = open(path, 'a+')
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except OSError as error:
            locked = False
            if error.errno in _REFUSED:
                _refuse(work_dir, _read(file))
        if osp.exists(path) and osp.samestat(os.fstat(file.fileno()), os.stat(path)):
            break
        file.close()  # a run that was just ending has removed it
    process, host, created, *_ = record = _read(file)
    if process and not locked and _may_live(int(process), host, float(created)):
        _refuse(work_dir, record)
    if process:
        print(f'{work_dir}: the run of process {process} on {host} was killed; this run takes its place.')
    file.truncate(0)
    now = time.strftime('%Y-%m-%d %H:%M:%S')
    values = (os.getpid(), socket.gethostname(), psutil.Process().create_time(), now)
    file.write('\n'.join(map(str, values)))
    file.flush()
    return file


def _read(file: TextIO) -> list[str]:
    """Process, host, the process's start as a number, the run's as a text; empty texts if nobody is in."""
    file.seek(0)
    lines = file.read().splitlines()
    return lines if len(lines) == 4 else [''] * 4


def _may_live(process: int, host: str, created: float) -> bool:
    """Whether a process is there; one of another host may be."""
    if host != socket.gethostname():
        return True
    return psutil.pid_exists(process) and psutil.Process(process).create_time() == created


def _refuse(work_dir: str, record: list[str]) -> None:
    process, host, _, since = record
    who = f'by process {process} on {host}, since {since}' if process else 'by another process'
    raise ValueError(
        f'work_dir: {work_dir} is in use {who}: two runs there would overwrite each other. Wait for its end, '
        f'stop it, or give another --work-dir. (If that host is gone: remove {osp.join(work_dir, RECORD)}.)'
    )


def _release(work_dir: str, owner: int) -> None:
    if os.getpid() == owner:
        Path(work_dir, RECORD).unlink(missing_ok=True)
