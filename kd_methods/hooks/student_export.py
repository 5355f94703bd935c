"""Next to every full checkpoint a file with the student alone."""

import filecmp
import os.path as osp

from mmengine.dist import is_main_process
from mmengine.fileio import isfile, join_path
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from kd_methods.export.plain_config import plain_config
from kd_methods.export.student import config_text, student_checkpoint, student_name, to_bytes
from kd_methods.export.verify import loading_problem
from kd_methods.hooks.saving import around_save, is_first
from kd_methods.networks.checkpoint import safe_load
from kd_methods.utils.files import is_local, write_file

CONFIG_NAME = 'student_config.py'
BEST_NAME = 'best.pth'


@HOOKS.register_module()
class StudentExportHook(Hook):
    """Write the student alone next to every full checkpoint, and its plain config.

    For ``iter_N.pth`` (or another name that the checkpoint hook writes, ``best_*.pth`` included) that is
    ``iter_N_student.pth``: the student's weights and the meta information of its data set, without
    teacher, adapters and optimizer, in tensors and plain Python values, so that ``torch.load(...,
    weights_only=True)`` reads it. It holds the weights that the full checkpoint holds under
    ``state_dict``: those of the EMA where there is one. ``student_config.py`` is the config with
    which stock mmseg / mmdet load it; its first lines name ``best.pth``, or the last student's file
    where there is none. Whenever a new best checkpoint is written, ``best.pth``
    becomes a copy of its student; with several ``save_best`` metrics it follows the first.

    At the end of training a fresh process without this package loads what was exported, and the log says
    what it found (seconds, most of it the import of torch). ``verify_export=False`` at the top level of the
    config leaves that out.

    In a run without distillation the student is the model.

    When the checkpoint hook removes a full checkpoint (``max_keep_ckpts``, a better best), the
    student's file goes with it (:class:`~kd_methods.hooks.checkpoint.WholeCheckpointHook`).
    """

    # EMAHook exchanges the weights in `before_save_checkpoint`: be later. And in `before_train`,
    # the checkpoint hook has to have its directory.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._runner = None
        self._checkpoint: dict | None = None
        self._config = None
        self._config_text = ''
        self._described: dict[str, str] = {}  # directory -> the weights that its student_config.py names

    def before_run(self, runner) -> None:
        """Follow what the runner saves."""
        if self._runner is runner or not is_first(self, runner):
            return
        self._runner = runner
        around_save(runner, after=self._after_save)

    def before_train(self, runner) -> None:
        """Make the plain config, so that what cannot be exported is said before the training and
        not after it."""
        verify = runner.cfg.get('verify_export', True)
        if not isinstance(verify, bool):
            raise TypeError(f'verify_export must be True or False. Got: {verify!r}')
        if self._runner is not runner or not is_main_process():
            return
        if runner.cfg.get('model') is not None:
            self._config = plain_config(runner.cfg)
            self._config_text = self._config.pretty_text
        for hook in self._checkpoint_hooks():  # a kill may have come between a checkpoint and its student
            bests = (getattr(hook, 'best_ckpt_path_dict', None) or {}).values()
            for path in (hook.last_ckpt, getattr(hook, 'best_ckpt_path', None), *bests):
                if not path or not osp.isfile(path):
                    continue
                if not self._has_student(*osp.split(path)):
                    self._export(safe_load(path), *osp.split(path), None)
                self._describe(*osp.split(path), None)

    def after_train(self, runner) -> None:
        """Say whether others can load what was exported."""
        if self._runner is not runner or not runner.cfg.get('verify_export', True):
            return
        for folder, weights in self._described.items() if is_main_process() else ():
            config = join_path(folder, CONFIG_NAME)
            problem = loading_problem(config, weights) if is_local(config) else ''
            if problem:
                why = 'cannot be loaded in a process without kd_methods'
                runner.logger.warning(f'The exported {config} with {weights} {why}: {problem}')
            elif is_local(config):
                runner.logger.info(f'{config} and {weights}: loaded in a process without kd_methods.')

    def _has_student(self, folder: str, filename: str) -> bool:
        student, best = osp.join(folder, student_name(filename)), osp.join(folder, BEST_NAME)
        if not osp.isfile(student):
            return False
        return not self._is_best(filename) or osp.isfile(best) and filecmp.cmp(student, best, shallow=False)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take hold of what is being saved (rank 0 only)."""
        if self._runner is runner:
            self._checkpoint = checkpoint

    def _after_save(self, folder: str, filename: str, backend_args: dict | None) -> None:
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None:
            self._export(checkpoint, folder, filename, backend_args)

    def _export(self, checkpoint: dict, folder: str, filename: str, backend_args: dict | None) -> None:
        data = to_bytes(student_checkpoint(checkpoint, self._config, self._config_text))
        write_file(data, join_path(folder, student_name(filename)), backend_args)
        if self._is_best(filename):
            write_file(data, join_path(folder, BEST_NAME), backend_args)
        self._describe(folder, filename, backend_args)

    def _describe(self, folder: str, filename: str, backend_args: dict | None) -> None:
        """Write the plain config of a folder, whose header names weights that are there."""
        best = join_path(folder, BEST_NAME)
        follows = any(h.save_best for h in self._checkpoint_hooks()) and isfile(best, backend_args)
        weights = best if follows else join_path(folder, student_name(filename))
        if self._config is None or self._described.get(folder) == weights:
            return
        path = join_path(folder, CONFIG_NAME)
        write_file(config_text(self._config, self._config_text, path, weights), path, backend_args)
        self._described[folder] = weights

    def _is_best(self, filename: str) -> bool:
        """Whether a file is the best of the first metric that a checkpoint hook follows."""
        for hook in self._checkpoint_hooks():
            if hook.save_best and filename.startswith(f'best_{hook.key_indicators[0]}_'.replace('/', '_')):
                return True
        return False

    def _checkpoint_hooks(self):
        return [h for h in self._runner.hooks if isinstance(h, CheckpointHook)]
