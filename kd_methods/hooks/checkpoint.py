"""Checkpoints that nothing can lose: a new one is whole before an old one goes."""

import contextlib
import copy
import glob
import os.path as osp
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from kd_methods.export.student import student_name
from kd_methods.hooks.room import check_room
from kd_methods.networks.checkpoint import safe_load
from kd_methods.utils.files import write_file

#: Saves that may fail one after another (no room, a limit) before training stops.
MOST_FAILURES = 3


@HOOKS.register_module(name='CheckpointHook', force=True)
class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, whose place in the registry it takes, with four differences.

    - What is outdated (``max_keep_ckpts``, a better best) is removed once the new file is whole, and the
      student's file with it.
    - A save that fails keeps the older checkpoint and lets training go on, at most three times in a row.
    - No file outside of its folder is touched, although a resumed checkpoint names one there.
    - After a kill between two files, a resumed run finds its best checkpoint by the scores in the files.

    Arguments are those of ``CheckpointHook``.
    """

    failures = 0

    def before_train(self, runner) -> None:
        """Find the folder, whether it has room, and in a resumed run the best checkpoint in it."""
        hub = runner.message_hub
        names = [name for name in hub.runtime_info if name.startswith('best_ckpt')]
        known = {name: osp.basename(str(hub.runtime_info.pop(name))) for name in names}
        numbers = list(hub.runtime_info.get('keep_ckpt_ids', []))
        super().before_train(runner)  # which knows the folder afterwards, and removes what is too many
        if is_main_process():
            check_room(runner, str(self.out_dir))
        own = osp.join(self.out_dir, osp.basename(str(hub.runtime_info.get('last_ckpt', ''))))
        if runner.iter and osp.isfile(own):  # the one that is resumed, unless that lies elsewhere
            self.last_ckpt = own
            if is_main_process():
                write_file(own, osp.join(runner.work_dir, 'last_checkpoint'))
        if self.max_keep_ckpts > 0 and is_main_process():
            template = osp.join(self.out_dir, self.filename_tmpl)
            # A kill may have come between a new checkpoint and the removal of the one that it outdates.
            outdated = map(template.format, hub.runtime_info.get('outdated_ckpt_ids', []))
            too_many = map(template.format, numbers[: -self.max_keep_ckpts])
            for path in [*filter(self.file_backend.isfile, outdated), *too_many]:
                self._remove(self.file_backend, path)
        for key, rule in zip(self.key_indicators, self.rules) if self.save_best else ():
            several = len(self.key_indicators) > 1
            suffix = f'_{key}' if several else ''
            best = self._best_in_folder(
                runner, key, known.get(f'best_ckpt{suffix}'), f'best_score{suffix}', rule
            )
            if best is None:
                hub.runtime_info.pop(f'best_score{suffix}', None)  # a new folder begins a new best
                continue
            hub.update_info(f'best_score{suffix}', best[0])
            hub.update_info(f'best_ckpt{suffix}', best[1])
            if several:
                self.best_ckpt_path_dict[key] = best[1]
            else:
                self.best_ckpt_path = best[1]

    def _best_in_folder(
        self, runner, key: str, known: str | None, score: str, rule: str | None
    ) -> tuple[float, str] | None:
        """Score and path of the best checkpoint of a metric in this run's folder, of those up to now; the
        others are removed.

        Args:
            runner (Runner): The runner.
            key (str): The metric; ``'auto'`` where it is not known yet.
            known (str | None): File name of a best checkpoint of this metric.
            score (str): Name of its score in the message hub.
            rule (str | None): ``'greater'`` or ``'less'``.
        """
        number = re.escape(self.filename_tmpl).replace(r'\{\}', r'\d+') + '$'
        stem = re.sub(number, '', known) if known else f'best_{key}_'.replace('/', '_')
        found = []
        for file in sorted(Path(self.out_dir).glob(f'{glob.escape(stem)}*')):
            info = self._info_of(file) if re.match(number, file.name[len(stem) :]) else None
            if info is not None and info[1] <= runner.iter and score in info[0]:
                found.append((float(info[0][score]), str(file)))
        if not found:
            return None
        best = min(found) if rule == 'less' else max(found)
        for _, path in found:
            if path != best[1] and is_main_process():
                self._remove(self.file_backend, path)
        return best

    def _info_of(self, file: Path) -> tuple[dict, int] | None:
        """The runtime information in a checkpoint and its iteration; None of a damaged file."""
        try:
            content = safe_load(file)
            return content['message_hub']['runtime_info'], content['meta']['iter']
        except (ValueError, KeyError, TypeError, OSError):
            return None

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        with self._guarded(runner, name):
            if self.max_keep_ckpts > 0 and step not in list(self.keep_ckpt_ids)[-1:]:
                outdated = list(self.keep_ckpt_ids)[: len(self.keep_ckpt_ids) + 1 - self.max_keep_ckpts]
                for number in outdated if is_main_process() else ():
                    path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(number))
                    self.file_backend.remove(path)
                runner.message_hub.update_info('outdated_ckpt_ids', outdated)
                self.keep_ckpt_ids.append(step)  # a deque of that length: the oldest leaves it
                runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
                parts = Path(self.out_dir).glob(f'iter_*_{self.filename_tmpl.format("*")}')  # of save_now
                for path in parts if is_main_process() else ():
                    self.file_backend.remove(str(path))
            self._write(runner, name, meta)

    def _write(self, runner, name: str, meta: dict) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        options = dict(meta=meta, by_epoch=self.by_epoch, backend_args=self.backend_args)
        options.update(save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler)
        runner.save_checkpoint(self.out_dir, name, self.file_client_args, **options, **self.args)
        if is_main_process():
            write_file(self.last_ckpt, osp.join(runner.work_dir, 'last_checkpoint'))

    def save_now(self, runner, epoch: int, iteration: int, within_epoch: bool) -> str:
        """Save although it is not the interval's turn, unless this state was saved already.

        Where checkpoints are those of epochs, one from within an epoch is ``iter_I_epoch_E.pth``, after E
        whole epochs.

        Args:
            runner (Runner): The runner, between two iterations.
            epoch (int): Epochs that are done.
            iteration (int): Iterations that are done.
            within_epoch (bool): Whether it is not the end of an epoch.

        Returns:
            str: The checkpoint; '' where the disk refused.
        """
        step = epoch if self.by_epoch else iteration
        name, meta = self.filename_tmpl.format(step), dict(epoch=epoch, iter=iteration)
        if self.by_epoch and within_epoch:
            name = f'iter_{iteration}_{name}'
        path = self.file_backend.join_path(self.out_dir, name)
        if self.last_ckpt != path and self.by_epoch and within_epoch:
            with self._guarded(runner, name):
                self._write(runner, name, meta)
        elif self.last_ckpt != path:
            self._save_checkpoint_with_step(runner, step, meta)
        return path if self.last_ckpt == path else ''

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        with self._guarded(runner, 'the best checkpoint'):
            super()._save_best_checkpoint(runner, metrics)

    @contextlib.contextmanager
    def _guarded(self, runner, name: str) -> Iterator[None]:
        """Save inside of this: files are removed once all is written, and where the disk refuses, all stays
        as it was, three times in a row at most.
        """
        hub = runner.message_hub.runtime_info
        infos, own = dict(hub), {key: copy.copy(vars(self)[key]) for key in _STATE if key in vars(self)}
        backend, self.file_backend = self.file_backend, _RemovingLater(self.file_backend)
        try:
            yield
        except OSError as error:
            self.failures += 1
            if self.failures > MOST_FAILURES:
                raise
            vars(self).update(own)
            for key in [
                key for key in hub if key.startswith(('best_', 'last_ckpt', 'keep_ckpt_ids', 'outdated_'))
            ]:
                hub.pop(key)
                hub.update({key: infos[key]} if key in infos else {})
            runner.logger.error(
                f'{name} could not be saved ({error}). The checkpoints before it are kept, and training goes '
                f'on to the next save ({self.failures} of at most {MOST_FAILURES} failures in a row).'
            )
        else:
            self.failures = 0
            for path in self.file_backend.removed:
                self._remove(backend, path)
        finally:
            self.file_backend = backend

    def _remove(self, backend: Any, path: str) -> None:
        """Remove a checkpoint and the student's file next to it; that one first, so that a kill in between
        leaves what the next start knows of.
        """
        for file in (student_name(path), path):
            if backend.isfile(file):
                backend.remove(file)


#: What a save changes in the hook.
_STATE = ('last_ckpt', 'keep_ckpt_ids', 'best_ckpt_path', 'best_ckpt_path_dict')


class _RemovingLater:
    """A file backend that notes what is to be removed."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.removed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.removed.append(path)
