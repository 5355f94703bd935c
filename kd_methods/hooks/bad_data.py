"""What is wrong with the data of a training: samples that cannot be used, and labels that teach nothing."""

import math
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from kd_methods.hooks.guarded import guard, read_skipped
from kd_methods.networks.heads import unwrapped

RECORD = 'skipped_samples.txt'


@HOOKS.register_module()
class BadDataHook(Hook):
    """Name the files of a sample that cannot be used, and warn of an epoch without labels.

    A broken image, a label outside of the classes, an image and a label of different sizes end the run with
    a sentence. With ``skip_bad_samples=n`` at the top level of the config up to n such samples (of all
    processes together; each counts once) are left out: others take their places, each is told in the log,
    and ``skipped_samples.txt`` in the work directory lists them.
    """

    def __init__(self) -> None:
        self._limit, self._record, self._told = 0, Path(), 0
        self._ignored: set[int] = set()
        self._length, self._count = 0, 0  # iterations of an epoch, and how many of this one were seen
        self._taught = False  # this epoch has a label

    def before_train(self, runner) -> None:
        """Guard the training data."""
        self._limit = runner.cfg.get('skip_bad_samples', 0)
        if type(self._limit) is not int or self._limit < 0:
            raise ValueError(
                f'skip_bad_samples: got {self._limit!r}, expected a whole number of 0 or more: how many bad '
                'samples may be left out.'
            )
        self._record = Path(runner.work_dir).absolute() / RECORD
        if is_main_process() and not runner.iter:
            self._record.unlink(missing_ok=True)
        barrier()
        self._told = len(read_skipped(self._record))
        classes, self._ignored = _labels_of(runner.model)
        loader = runner.train_loop.dataloader
        guard(
            loader.dataset,
            'train_dataloader',
            self._limit,
            self._record,
            classes=classes,
            ignored=self._ignored,
        )
        self._length = min(_epoch_of(loader), runner.max_iters)
        if not getattr(unwrapped(runner.model), 'calculate_student_loss', True):
            self._length = 0  # labels need not be there

    def before_val(self, runner) -> None:
        """Guard the validation data, of which none may be left out."""
        guard(runner.val_loop.dataloader.dataset, 'val_dataloader')

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Tell of samples that were left out, and look for labels."""
        self._tell(runner)
        self._taught = self._taught or _teaches(data_batch, self._ignored)
        self._count += 1
        if not self._length or (runner.iter + 1) % self._length:
            return
        if not self._taught and self._count >= self._length:  # fewer after a resume in the middle
            runner.logger.warning(
                f'All labels of {self._length} iterations, an epoch, were ignored: nothing is learnt. '
                "Look at the data set's reduce_zero_label, label_map and ignore_index, and at what the files "
                'hold: `python tools/data/check.py CONFIG`.'
            )
        self._taught, self._count = False, 0

    def after_train(self, runner) -> None:
        """Tell of samples that were left out last."""
        self._tell(runner)

    def _tell(self, runner) -> None:
        if not self._limit:
            return
        skipped = list(read_skipped(self._record).items())
        for number, (sample, what) in enumerate(skipped[self._told :], self._told + 1):
            runner.logger.warning(f'skip_bad_samples: {number} of at most {self._limit}: {sample}: {what}')
        self._told = len(skipped)


def _labels_of(model: Any) -> tuple[int | None, set[int]]:
    """Number of classes of a segmentor (in a distillation, of the student), and the labels it ignores."""
    model = unwrapped(model)
    head = getattr(getattr(model, 'architecture', model), 'decode_head', None)
    heads = list(head) if isinstance(head, torch.nn.ModuleList) else [head]
    counts = [getattr(head, 'num_classes', None) for head in heads]
    ignored = {getattr(head, 'ignore_index', 255) for head in heads}
    return None if None in counts else max(counts), ignored


def _epoch_of(loader: Any) -> int:
    """Batches of an epoch for each process; 0 where it never ends."""
    batch = getattr(loader, 'batch_size', None) or getattr(loader.batch_sampler, 'batch_size', None)
    if not batch or not hasattr(loader.dataset, '__len__'):
        return 0
    return math.ceil(len(loader.dataset) / (batch * get_world_size()))


def _teaches(batch: Any, ignored: set[int]) -> bool:
    """Whether any label of a batch is learnt from; True where that cannot be known."""
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    return not isinstance(samples, (list, tuple)) or any(_has_labels(sample, ignored) for sample in samples)


def _has_labels(sample: Any, ignored: set[int]) -> bool:
    if 'gt_sem_seg' in sample:
        labels = sample.gt_sem_seg.data.long()
        return not torch.isin(labels, torch.tensor(sorted(ignored))).all()
    return 'gt_instances' not in sample or len(sample.gt_instances) > 0
