"""A runner that starts from what arrives, and goes on from the newest checkpoint that is whole."""

import os.path as osp
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop

from kd_methods.compat.engine import end_workers
from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.engine.first_batch import check_means, judge_first_batch, lone_images
from kd_methods.engine.named_runner import NamedRunner
from kd_methods.networks.checkpoint import extract_state_dict, load_start, safe_load
from kd_methods.networks.heads import unwrapped
from kd_methods.utils.files import write_file
from kd_methods.utils.text import first_few


@RUNNERS.register_module()
class WholeRunner(NamedRunner):
    """mmengine's ``Runner`` with its two ways to read a checkpoint replaced.

    - ``load_from``: the weights arrive, or the run stops with a report
      (:func:`~kd_methods.networks.checkpoint.load_start`). ``load_from_trusted=True`` in the config lets the
      file hold arbitrary objects, ``load_from_partial=True`` lets a part of the weights be missing.
    - ``resume``: without a file, the newest checkpoint that is whole and belongs to this network; those that
      are not are named. It never starts at 0 where there are checkpoints. A validation that the end of the
      run before cut short is made up for.
    """

    _content: dict | None = None  # the checkpoint that is being resumed
    _resumable = False  # whether training has begun
    _looked = False  # at the first batch

    def build_model(self, model: Any) -> Any:
        """Build the model. A distillation without any loss is an error."""
        built = super().build_model(model)
        if isinstance(built, FrozenTeacherDistill) and not any(built.weights.base.values()):
            names = first_few(list(built.weights.base)) or 'none'
            raise ValueError(
                f'model.distiller: no loss counts ({names}: loss_weight is 0), so nothing would be '
                "distilled. Give one a loss_weight, or train the student's own config."
            )
        return built

    def wrap_model(self, model_wrapper_cfg: Any, model: Any) -> Any:
        """Wrap the model for several processes."""
        cfg = {**self.cfg, **(model_wrapper_cfg or {})}
        checkpointed = [
            name for name, part in model.named_modules() if getattr(part, 'with_cp', False) is True
        ]
        if self.distributed and cfg.get('find_unused_parameters') and checkpointed:
            raise ValueError(
                'find_unused_parameters=True does not go together with activation checkpointing '
                f'(with_cp=True in {first_few(checkpointed, 3)}): torch would mark parameters as ready '
                'twice. Set with_cp=False, or remove find_unused_parameters: a distillation ties the '
                'parameters that no loss reaches.'
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: Any) -> Any:
        """Build the loop. A distillation loss that never counts in it is an error."""
        built = super().build_train_loop(loop)
        model = unwrapped(self.model)
        never = model.weights.never(built.max_iters) if isinstance(model, FrozenTeacherDistill) else ''
        if never:
            raise ValueError(f'model.distiller: {never}')
        return built

    def train(self) -> Any:
        """Train; no worker and nothing else of the run is left in the process, also when that fails."""
        try:
            model = super().train()
        except Exception:
            end_workers(self._train_loop, self._val_loop)
            for give_back in [getattr(hook, 'give_back', None) for hook in self.hooks]:
                if callable(give_back):
                    give_back()
            raise
        end_workers(self._train_loop, self._val_loop)
        return model

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call all hooks; validations are noted, and one that is missing comes before training. The first
        batch is looked at before a step is made of it.
        """
        if fn_name == 'before_train_iter' and not self._looked:
            self._looked = True
            self._look_at(kwargs.get('data_batch'))
        super().call_hook(fn_name, **kwargs)
        note = Path(self.work_dir) / '.validated'
        if fn_name == 'after_val' and self._resumable:
            if is_main_process():
                write_file(str(self.iter), note)
        elif fn_name == 'before_train':
            self._resumable = True
            done = note.read_text(errors='replace') if note.is_file() else ''
            if self._resume and done != str(self.iter) and self._ends_in_validation():
                self.logger.info(f'The validation after iteration {self.iter} is made up for.')
                self.val_loop.run()

    def _look_at(self, batch: Any) -> None:
        model = unwrapped(self.model)
        network = model.student if isinstance(model, FrozenTeacherDistill) else model
        if getattr(model, 'calculate_student_loss', True):
            check_means(network, batch)
        loop = self.train_loop
        steps = None if isinstance(loop, EpochBasedTrainLoop) else getattr(loop, 'max_iters', None)
        for text in judge_first_batch(model, network, batch, lone_images(loop.dataloader, steps)):
            raise ValueError(text)

    def _ends_in_validation(self) -> bool:
        """Whether a validation belongs to the iteration that is being resumed from."""
        loop = self.train_loop
        if self.val_loop is None or not self.iter or not hasattr(loop, 'val_interval'):
            return False
        done, last = self.iter, loop.max_iters
        if isinstance(loop, EpochBasedTrainLoop):
            if self.iter != self.epoch * len(loop.dataloader):
                return False
            done, last = self.epoch, loop.max_epochs
        return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)

    def load_or_resume(self) -> None:
        """Load or resume, once."""
        if self._has_loaded:
            return
        if not self._resume and self._load_from is not None:
            self.load_checkpoint(self._load_from)
        elif self._load_from is not None:
            content = self._read(self._load_from, '--resume')
            problem = self._problem(content)
            if problem:
                raise ValueError(f'--resume {self._load_from}: {problem}. {self._others(self._load_from)}')
            self._go_on(self._load_from, content)
        elif self._resume:
            self._go_on_from_newest()

    def load_checkpoint(
        self, filename: str, map_location: Any = 'cpu', strict: bool = False, revise_keys: list | None = None
    ) -> dict:
        """Start from the weights of a file. Arguments as of mmengine's, of which the last two have no effect:
        names are found, and missing weights told, in any case.
        """
        model = unwrapped(self.model)
        content = self._content
        if content is None:
            content = self._read(filename, 'load_from')
            partial = bool(self.cfg.get('load_from_partial', False))
            load_start(model, extract_state_dict(content), filename, partial)
            content['state_dict'] = model.state_dict()  # under the model's names, as hooks look for them
        self.call_hook('after_load_checkpoint', checkpoint=content)
        model.load_state_dict(content['state_dict'])
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return content

    def _read(self, filename: str, key: str) -> dict:
        return safe_load(filename, trusted=bool(self.cfg.get('load_from_trusted', False)), key=key)

    def _go_on(self, filename: str, content: dict) -> None:
        self._content = content
        try:
            self.resume(filename)
        finally:
            self._content = None

    def _go_on_from_newest(self) -> None:
        refused = []
        for path in self._checkpoints():
            try:
                content = self._read(str(path), '--resume')
                problem = self._problem(content)
            except (ValueError, OSError) as error:
                problem = str(error)
            if not problem:
                self.logger.info(f'Resumed from {path}, the newest checkpoint that is whole.')
                return self._go_on(str(path), content)
            refused.append(f'{path}: {problem}')
            self.logger.warning(f'--resume: {path} is left out: {problem}')
        if refused:
            raise ValueError(
                f'--resume: none of the checkpoints in {self.work_dir} can be gone on from: '
                f'{"; ".join(refused)}. To begin anew, give another --work-dir, or leave --resume out.'
            )
        self.logger.info(
            f'--resume: {self.work_dir} has no checkpoint yet: training starts at the beginning.'
        )
        return None

    def _checkpoints(self) -> Iterator[Path]:
        """Full checkpoints of this run's folder, the newest first.

        That is the one with the highest number; or the one of ``last_checkpoint``, where it was written after
        all others, because the run was sent back to an earlier iteration.
        """
        hook = next((h for h in self.hooks if isinstance(h, CheckpointHook)), None)
        folder = Path(self.work_dir)
        if hook is not None and hook.out_dir is not None and str(hook.out_dir) != self.work_dir:
            folder = Path(hook.out_dir) / osp.basename(self.work_dir.rstrip(osp.sep))
        skipped = ('best_', '.')
        files = [f for f in folder.glob('*.pth') if not f.name.startswith(skipped)]
        files = [f for f in files if f.name != 'best.pth' and not f.stem.endswith('_student')]
        files.sort(key=lambda f: (_number(f), f.stat().st_mtime), reverse=True)
        pointer = Path(self.work_dir) / 'last_checkpoint'
        name = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
        last = next((f for f in files if f.name == osp.basename(name)), None)
        if last is not None and all(f.stat().st_mtime < last.stat().st_mtime for f in files if f != last):
            files.remove(last)
            files.insert(0, last)
        yield from files

    def _problem(self, content: dict) -> str:
        """Why a run cannot go on from a checkpoint; '' where it can."""
        missing = [key for key in ('meta', 'state_dict', 'message_hub', 'optimizer') if key not in content]
        if missing:
            return f'it holds no {", ".join(missing)}: a file of weights alone, such as of a student'
        if not all(isinstance(content['meta'].get(key), int) for key in ('epoch', 'iter')):
            return 'it does not say of which iteration it is'
        model = unwrapped(self.model)
        own, given = model.state_dict(), content['state_dict']
        other = [k for k in {**own, **given} if _shape(own.get(k)) != _shape(given.get(k))]
        if other:
            return f'it belongs to another network or method ({first_few(other)})'
        groups = getattr(self.optim_wrapper, 'state_dict', dict)().get('param_groups')
        saved = content['optimizer'].get('param_groups')
        if groups and saved and [len(g['params']) for g in groups] != [len(g['params']) for g in saved]:
            return 'its optimizer has other groups of parameters than this config makes'
        return ''

    def _others(self, filename: str) -> str:
        names = [f.name for f in self._checkpoints() if f.name != osp.basename(filename)]
        hint = f' The work dir also holds {first_few(names)}.' if names else ''
        return f'To start from its weights alone, set load_from instead of --resume.{hint}'


def _number(path: Path) -> int:
    digits = re.findall(r'\d+', path.stem)
    return int(digits[-1]) if digits else -1


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value)
