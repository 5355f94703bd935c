"""An interrupted and resumed run equals the uninterrupted one."""

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from kd_methods.hooks.rng import get_rng_state, set_rng_state
from kd_methods.hooks.saving import around_save, is_first
from kd_methods.hooks.worker_seeds import WorkerSeeds
from kd_methods.networks.heads import unwrapped

#: Where a checkpoint holds what this hook needs.
KEY = 'exact_resume'


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Keep the states of all random number generators in checkpoints and restore them on resume.

    mmengine resumes weights, optimizer, schedulers, EMA and the position in the data; with this
    hook dropout and augmentations go on where they were, too. On the CPU, with as many processes
    and threads, the result is the same bit for bit:

    - each process's generators (Python, numpy, torch, CUDA) are stored as they are when the
      checkpoint is written, and restored after the resumed run has set up and before it asks for
      its first batch;
    - validation does not touch them: what it draws is put back when it ends, so it makes no
      difference whether the checkpoint was written before it or after it;
    - creating a data loader's iterator draws from a generator of the loader's own;
    - the sampler's seed is stored: without ``randomness.seed`` mmengine draws a new one for each
      start;
    - with ``num_workers > 0``, workers are seeded for each batch by its number
      (:class:`WorkerSeeds`);
    - within an accumulation of gradients (``optim_wrapper.accumulative_counts``) each process's
      gradients are stored.

    Not exact:

    - another number of processes or threads, another batch size, changed data or a changed config;
    - ``fast_forward_on_resume=True``;
    - a checkpoint from the middle of an epoch of an epoch-based loop (mmengine begins the epoch again);
    - an iteration-based loop with workers over a sampler that ends (mmengine's ``DefaultSampler``);
    - transforms that keep samples between calls (mmdet's cached mosaic), and whatever else a loss, a
      hook or a data set keeps outside of ``state_dict``;
    - several optimizers (``OptimWrapperDict``) within an accumulation;
    - a validation that the stop cut short, or that was due after the last checkpoint's iteration: it
      is not made up for, so a best checkpoint may be another one;
    - kernels that are not deterministic (CUDA, ``cudnn_benchmark``), another machine or version of torch.
    """

    # Last in `before_train_epoch`: what other hooks draw there must not follow the restored state.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._runner = None
        self._resumed: dict | None = None
        self._states: list[dict] = []
        self._gradients: list[dict] = []
        self._before_val: dict | None = None
        self._workers: WorkerSeeds | None = None

    def before_run(self, runner) -> None:
        """Follow what the runner saves."""
        if self._runner is not runner and is_first(self, runner):
            self._runner = runner
            around_save(runner, before=self._gather)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember what a checkpoint has that is resumed (and not just loaded)."""
        if self._runner is runner and runner._resume:
            self._resumed = checkpoint.get(KEY)
            if self._resumed is None:
                runner.logger.warning(
                    'The checkpoint holds no states of random number generators (it was written without '
                    'ExactResumeHook): the resumed run will not equal an uninterrupted one.'
                )

    def before_train(self, runner) -> None:
        """Prepare the data loader."""
        if self._runner is not runner:
            return
        loader = runner.train_loop.dataloader
        sampler = _sampler_of(loader)
        if (
            self._resumed is not None
            and self._resumed['sampler_seed'] is not None
            and hasattr(sampler, 'seed')
        ):
            sampler.seed = self._resumed['sampler_seed']
        if not isinstance(loader, DataLoader):
            return
        if loader.generator is None:
            loader.generator = torch.Generator().manual_seed(runner.seed)
        if loader.num_workers > 0 and self._workers is None:
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            ends = by_epoch or not hasattr(sampler, 'skip')
            self._workers = WorkerSeeds(runner.seed, get_rank(), len(loader) if ends else None)
            self._workers.attach(loader)
            if runner.iter and ends and not by_epoch:
                runner.logger.warning(
                    f'{type(sampler).__name__} cannot be moved to where the run was stopped, so all data '
                    'before are loaded again, and augmentations will differ from an uninterrupted run: use '
                    'InfiniteSampler with an iteration-based loop.'
                )

    def before_train_epoch(self, runner) -> None:
        """Bring the generators back; the next thing that happens is the first batch."""
        if self._runner is not runner:
            return
        if self._workers is not None:
            self._workers.start = runner.iter
        state, self._resumed = self._resumed, None
        if state is None:
            return
        if len(state['ranks']) != get_world_size():
            runner.logger.warning(
                f'The checkpoint was written by {len(state["ranks"])} processes and is resumed with '
                f'{get_world_size()}: their random number generators start anew, and gradients of an '
                'unfinished accumulation are lost.'
            )
            return
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop) and runner.iter != runner.epoch * len(loop.dataloader):
            runner.logger.warning(
                'The checkpoint is from the middle of an epoch, which mmengine begins again: the resumed '
                'run will not equal an uninterrupted one.'
            )
        set_rng_state(state['ranks'][get_rank()])
        for gradients in state.get('gradients', [])[get_rank() : get_rank() + 1]:
            for name, parameter in _parameters(runner):
                parameter.grad = gradients[name].to(parameter) if name in gradients else None
            runner.logger.info('The gradients of the unfinished accumulation are those of the checkpoint.')

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Count the batches, for workers that are started anew when an iteration-based loop's
        sampler has ended."""
        if self._workers is not None and not isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._workers.start = runner.iter + 1

    def before_val(self, runner) -> None:
        """Keep the training's states."""
        if self._runner is runner:
            self._before_val = get_rng_state()

    def after_val(self, runner) -> None:
        """Put back what the validation has drawn."""
        if self._before_val is not None:
            set_rng_state(self._before_val)
            self._before_val = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the states of all processes (rank 0 only)."""
        if self._runner is runner:
            # The best score is a numpy scalar: plain, mmengine's safe reading takes the file, else
            # it says so and reads the file unsafely.
            info = checkpoint.get('message_hub', {}).get('runtime_info', {})
            for name, value in info.items():
                if isinstance(value, np.generic):
                    info[name] = value.item()
        if self._runner is runner and self._states:
            sampler = _sampler_of(runner.train_loop.dataloader)
            seed = getattr(sampler, 'seed', None)
            checkpoint[KEY] = dict(ranks=self._states, sampler_seed=seed, gradients=self._gradients)
            self._states, self._gradients = [], []

    def _gather(self, folder: str, filename: str) -> None:
        self._states = all_gather_object(self._before_val or get_rng_state())
        wrapper = self._runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper) and not wrapper.should_update():
            named = [(name, p.grad) for name, p in _parameters(self._runner) if p.grad is not None]
            self._gradients = all_gather_object({name: grad.cpu() for name, grad in named})


def _parameters(runner):
    """Names and parameters of the model, without its wrapper."""
    return unwrapped(runner.model).named_parameters()


def _sampler_of(loader):
    """The sampler that chooses the samples; a batch sampler may stand around it."""
    sampler = getattr(loader, 'sampler', None)
    inner = getattr(getattr(loader, 'batch_sampler', None), 'sampler', None)
    return sampler if hasattr(sampler, 'seed') or inner is None else inner
