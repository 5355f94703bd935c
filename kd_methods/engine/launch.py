"""Starting a run on the devices that the machine has.

mmengine's launch path assumes CUDA: it sets a CUDA device before it opens the process group, hands
`device_ids` to DDP and keeps SyncBN. This module lets the same config and the same command run on CPU too,
and leaves machines with an accelerator to mmengine.

Several processes give the gradients of one process with the whole batch where a loss is a mean over images
that count alike. These stay per process: batch statistics of BN (SyncBN joins them, on CUDA), a mean over
valid pixels when their number differs, and what a loss computes across the images of a batch, such as class
prototypes.
"""

from __future__ import annotations

import datetime
import gc
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS
from torch import nn

# Where each launcher leaves the rank, the number of processes and the rank within the node.
RANK_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}
_STARTERS = {
    'pytorch': 'tools/dist_train.sh or tools/dist_test.sh',
    'slurm': 'tools/slurm_train.sh or tools/slurm_test.sh',
    'mpi': 'mpirun',
}


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's DDP wrapper for processes without an accelerator.

    `Runner.wrap_model` passes `device_ids=[LOCAL_RANK]`, which DDP refuses for a CPU module, and keeps
    SyncBN, which has no CPU implementation.

    Args:
        module (BaseModel): The model. Its SyncBN layers become BN layers with the same parameters, so batch
            statistics are per process.
        device_ids: Ignored. Defaults to None.
        broadcast_buffers (bool): The Runner's default. Defaults to False.
        **kwargs: Passed to `MMDistributedDataParallel`.
    """

    def __init__(
        self, module: nn.Module, device_ids: Any = None, broadcast_buffers: bool = False, **kwargs
    ) -> None:
        super().__init__(module=revert_sync_batchnorm(module), broadcast_buffers=broadcast_buffers, **kwargs)


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision without CUDA: the forward runs under bfloat16 autocast on CPU.

    bfloat16 has the range of float32, so there is no loss scale. Checkpoints can be exchanged with
    `AmpOptimWrapper`.

    Args:
        loss_scale: `AmpOptimWrapper`'s argument; ignored. Defaults to None.
        dtype: `AmpOptimWrapper`'s argument; ignored. Defaults to None.
        use_fsdp: `AmpOptimWrapper`'s argument; ignored. Defaults to False.
        **kwargs: Passed to `OptimWrapper`.
    """

    def __init__(self, loss_scale: Any = None, dtype: Any = None, use_fsdp: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Accumulation context of `OptimWrapper`, and autocast."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state, without the loss scale of a run that was on CUDA."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != 'loss_scaler'})


def on_cpu() -> bool:
    """Whether a run on this machine computes on CPU."""
    return get_device() == 'cpu'


def read_ranks(launcher: str) -> tuple[int, int, int]:
    """Rank, number of processes and local rank that a launcher gave this process.

    Args:
        launcher (str): 'pytorch', 'slurm' or 'mpi'.

    Raises:
        ValueError: The process was not started by that launcher.
    """
    for name in RANK_VARIABLES[launcher]:
        if name not in os.environ:
            raise ValueError(
                f'--launcher {launcher}: the environment variable {name} is not set, so this process was '
                f'not started by that launcher. Start it with {_STARTERS[launcher]}, or leave --launcher '
                'out for a single process.'
            )
    rank, world_size, local_rank = (int(os.environ[name]) for name in RANK_VARIABLES[launcher])
    return rank, world_size, local_rank


def init_distributed(launcher: str, dist_cfg: dict | None = None) -> None:
    """Open the process group when the Runner could not: on CPU, with gloo.

    With an accelerator only the ranks are checked; the Runner then opens the group itself.

    Args:
        launcher (str): 'none', or a key of `RANK_VARIABLES`.
        dist_cfg (dict, optional): `env_cfg.dist_cfg` of the config; its `timeout` (seconds) and `port` are
            used. Defaults to None.
    """
    if launcher == 'none' or torch_dist.is_initialized():
        return
    rank, world_size, local_rank = read_ranks(launcher)
    if not on_cpu():
        devices = torch.cuda.device_count() if torch.cuda.is_available() else None
        if devices is not None and local_rank >= devices:
            raise ValueError(
                f'--launcher {launcher}: process {local_rank} of this node has no GPU, since {devices} are '
                f'visible. Start at most {devices} processes a node (GPUS), or none of them with a GPU '
                '(CUDA_VISIBLE_DEVICES=-1).'
            )
        return
    given = {key: value for key, value in (dist_cfg or {}).items() if value is not None}
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(local_rank))
    if 'port' in given:
        os.environ['MASTER_PORT'] = str(given['port'])
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_slurm_node() if launcher == 'slurm' else '127.0.0.1'
    timeout = dict(timeout=datetime.timedelta(seconds=given['timeout'])) if 'timeout' in given else {}
    torch_dist.init_process_group('gloo', **timeout)


def _first_slurm_node() -> str:
    command = ['scontrol', 'show', 'hostnames', os.environ.get('SLURM_NODELIST', '')]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]


def close_distributed() -> None:
    """Close the process group, which otherwise complains when the process ends."""
    if torch_dist.is_initialized():
        # A Runner is full of cycles: without this, DDP and the threads of the group live on into the end of
        # the interpreter, which now and then aborted a rank that had done all its work.
        gc.collect()
        torch_dist.destroy_process_group()


def enable_amp(cfg: Config) -> None:
    """Turn the config's optimizer wrapper into the mixed-precision one (`--amp`), in place.

    Args:
        cfg (Config): A config with `optim_wrapper`.
    """
    wrapper = cfg.get('optim_wrapper')
    if not wrapper:
        raise ValueError('--amp: the config has no optim_wrapper to switch to mixed precision.')
    kind = wrapper.get('type', 'OptimWrapper')
    kind = kind if isinstance(kind, str) else kind.__name__
    if kind.endswith('AmpOptimWrapper'):
        return
    if kind not in ('OptimWrapper', 'mmengine.OptimWrapper'):
        raise ValueError(
            f"--amp: optim_wrapper.type is '{kind}'; only 'OptimWrapper' can be switched to "
            'AmpOptimWrapper. Set the type in the config instead.'
        )
    wrapper['type'] = 'AmpOptimWrapper'
    wrapper.setdefault('loss_scale', 'dynamic')


def fit_to_device(cfg: Config) -> None:
    """Replace what needs CUDA in a config by what runs here, in place.

    Without an accelerator: `AmpOptimWrapper` becomes bfloat16 autocast, DDP goes without device ids, SyncBN
    becomes BN. With one, training batches are pinned unless the config says otherwise: their way to the
    device does not hold up the step.

    Args:
        cfg (Config): The full config of a run.
    """
    if not on_cpu():
        if isinstance(cfg.get('train_dataloader'), dict):
            cfg.train_dataloader.setdefault('pin_memory', True)
        return
    wrapper = cfg.get('optim_wrapper')
    if wrapper and wrapper.get('type') in ('AmpOptimWrapper', 'mmengine.AmpOptimWrapper'):
        wrapper['type'] = 'CPUAmpOptimWrapper'
    if cfg.get('launcher', 'none') != 'none':
        unused = cfg.get('find_unused_parameters', False)
        ddp = cfg.get('model_wrapper_cfg') or dict(find_unused_parameters=unused)
        if ddp.get('type', 'MMDistributedDataParallel') == 'MMDistributedDataParallel':
            ddp['type'] = 'CPUDistributedDataParallel'
        cfg.model_wrapper_cfg = ddp
        cfg.pop('sync_bn', None)  # would turn BN into SyncBN again
