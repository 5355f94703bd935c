"""Whether there is room for a run's checkpoints."""

import math
import os
import resource
import shutil

from mmengine.hooks import EMAHook

from kd_methods.networks.heads import unwrapped

#: For logs, and for the next file while the last one is there.
MARGIN = 2**25


def check_room(runner, folder: str) -> None:
    """Raise unless the disk takes a checkpoint, and the process may write a file of that size.

    Args:
        runner (Runner): A runner with model and optimizer.
        folder (str): Where checkpoints go; one that is not of this file system is not looked at.

    Raises:
        ValueError: There is no room.
    """
    while folder and not os.path.isdir(folder):  # it is made with its first file
        folder = os.path.dirname(folder)
    if not folder:
        return
    student, full = checkpoint_size(runner)
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and limit < full:
        raise ValueError(
            f'This process may write files of up to {limit:,} bytes (ulimit -f); a checkpoint of this run '
            f'takes about {full:,}. Raise the limit (ulimit -f unlimited).'
        )
    free = shutil.disk_usage(folder).free
    if free < full + student + MARGIN:
        raise ValueError(
            f'work_dir: {folder} has {_gigabytes(free)} free, and a checkpoint of this run with its student '
            f'takes about {_gigabytes(full + student + MARGIN)}. Make room, or give another --work-dir.'
        )


def checkpoint_size(runner) -> tuple[int, int]:
    """Bytes of the weights, and of a full checkpoint: with the optimizer's state, and the EMA's."""
    model = unwrapped(runner.model)
    weights = sum(value.nbytes for value in model.state_dict().values() if hasattr(value, 'nbytes'))
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    first = getattr(getattr(runner.optim_wrapper, 'optimizer', None), 'defaults', {})
    copies = 2 if 'betas' in first else math.ceil(first.get('momentum', 0))
    averages = sum(isinstance(hook, EMAHook) for hook in runner.hooks)
    return weights, weights * (1 + averages) + trained * copies


def _gigabytes(size: int) -> str:
    return f'{size / 2**30:.2f} GB'
