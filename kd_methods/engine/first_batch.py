"""What the first batch of a run tells before a step is made of it."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from mmengine.dataset import DefaultSampler
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from kd_methods.distill.labels import UNLABELLED
from kd_methods.hooks.rng import get_rng_state, set_rng_state
from kd_methods.networks.probe import eval_mode
from kd_methods.networks.recording import StopForward
from kd_methods.utils.errors import is_own_error
from kd_methods.utils.text import first_few

#: Samplers that end; batches of others, such as InfiniteSampler, are all of one size.
_ENDING = (DefaultSampler, RandomSampler, SequentialSampler)
_X = "For RGB and X (depth, infrared, ...): type='RGBXDataPreProcessor' of both, see docs/rgbx.md."
_COLOUR = "Take color_type='grayscale' out of LoadImageFromFile, or give the network in_channels=1."
_GRAY = "Load gray images with dict(type='LoadImageFromFile', color_type='grayscale')."


class Lone(NamedTuple):
    """Batches of one image: where they come from, and how they are avoided."""

    what: str
    cure: str


def judge_first_batch(
    model: BaseModel, network: BaseModel, batch: Any, lone: Lone | None = None
) -> list[str]:
    """Say which layers would take statistics of a single value, as batch norm behind a pooling to 1 x 1 does.

    Model and batch stay as they are, and so do all random numbers.

    Args:
        model (BaseModel): What is trained, in training mode; its preprocessor gets the batch.
        network (BaseModel): The network that sees the images: itself, or the student.
        batch: The batch as the loader gives it.
        lone (Lone | None): Where a batch of one image comes from (:func:`lone_images`). Defaults to None:
            from nowhere.

    Raises:
        ValueError: The images have other channels than the preprocessor or the network takes.
    """
    batch = _first_sample(batch)
    if batch is None:
        return []
    before = get_rng_state()
    try:
        data = _preprocess(model, batch)
        if data is None:
            return []
        _check_channels(network, data, batch)
        return _judge_norms(network, data, lone)
    finally:
        set_rng_state(before)


def check_means(network: BaseModel, batch: Any) -> None:
    """Refuse task losses whose mean would count the pixels of images without labels (UnlabelledDataset).

    Raises:
        ValueError: A loss of the network has ``avg_non_ignore=False``.
    """
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    if not any(getattr(sample, 'metainfo', {}).get(UNLABELLED) for sample in samples or ()):
        return
    losses = [
        path for path, part in network.named_modules() if getattr(part, 'avg_non_ignore', True) is False
    ]
    if losses:
        why = 'divides by all pixels of a batch, and those of UnlabelledDataset have no label'
        cure = f'Set avg_non_ignore=True in {first_few(losses)} of the student'
        raise ValueError(f'train_dataloader: the task loss {why}. {cure}.')


def lone_images(loader: DataLoader, steps: int | None = None) -> Lone | None:
    """Which batches of a loader hold one image; None where no such batch is known to come.

    Args:
        loader (DataLoader): Of this process.
        steps (int | None): Iterations of the run. Defaults to None, whole epochs.
    """
    batches = loader.batch_sampler
    size, sampler = getattr(batches, 'batch_size', None), getattr(batches, 'sampler', None)
    if size == 1:
        return Lone('train_dataloader.batch_size=1', 'Set batch_size=2 or more')
    ends = isinstance(sampler, _ENDING) and not getattr(batches, 'drop_last', True)
    if not ends or not isinstance(size, int) or len(sampler) % size != 1:
        return None
    if steps is not None and steps <= len(sampler) // size:
        return None
    what = (
        f'train_dataloader: an epoch of {len(sampler):,} images in batches of {size} ends with a batch of one'
    )
    return Lone(f'{what},', 'Set train_dataloader.drop_last=True, or another batch_size')


def _first_sample(batch: Any) -> dict | None:
    """A batch of the first sample alone; None for a batch of another form."""
    if not isinstance(batch, Mapping) or not isinstance(batch.get('inputs'), (list, tuple, Tensor)):
        return None
    images, samples = batch['inputs'], batch.get('data_samples')
    if len(images) == 0 or not isinstance(images[0], Tensor) or images[0].dim() != 3:
        return None
    return dict(batch, inputs=images[:1], data_samples=copy.deepcopy(samples[:1]) if samples else samples)


def _preprocess(model: BaseModel, batch: dict) -> dict | None:
    """The batch as the networks get it; None where the step will tell what is wrong with it."""
    preprocessor = copy.deepcopy(model.data_preprocessor)
    try:
        data = preprocessor(batch, True)
    except Exception as error:
        if is_own_error(error):
            raise
        own = getattr(preprocessor, 'student', preprocessor)
        mean, swaps = getattr(own, 'mean', None), getattr(own, '_channel_conversion', False)  # mmengine's
        given, takes = len(batch['inputs'][0]), 3 if swaps else None if mean is None else len(mean)
        if takes in (None, given):
            return None
        how = f'mean and std of {takes} values' if mean is not None else 'bgr_to_rgb=True'
        has = f'the images of the batch have {given} channels, but {type(own).__name__} takes {takes} ({how})'
        raise ValueError(f'data_preprocessor: {has}. {_cure(given, takes)}') from error
    return data if isinstance(data, dict) and isinstance(data.get('inputs'), Tensor) else None


def _check_channels(network: BaseModel, data: dict, batch: dict) -> None:
    """Compare an image with the first convolution that it meets."""
    met: list[tuple[str, int, int]] = []

    def note(path: str, module: nn.Conv2d, inputs: tuple) -> None:
        met.append((path, module.in_channels, inputs[0].shape[1]))
        raise StopForward

    with _watching({p: m for p, m in network.named_modules() if isinstance(m, nn.Conv2d)}, note):
        _run(network, data)
    for path, takes, given in met[:1]:
        if takes != given:
            has = f'the images of the batch have {len(batch["inputs"][0])} channels'
            after = f'{given} behind the data_preprocessor, but {path} takes {takes}'
            raise ValueError(f'train_dataloader: {has}, {after}. {_cure(given, takes)}')


def _cure(given: int, takes: int) -> str:
    if max(given, takes) > 3:
        return _X
    return _GRAY if takes == 1 else _COLOUR


def _judge_norms(network: BaseModel, data: dict, lone: Lone | None) -> list[str]:
    """Layers that take statistics of one value: of one image, where a batch has one, or of any."""
    kinds: dict[type, list[str]] = {_BatchNorm: [], _InstanceNorm: []}
    watched = {p: m for p, m in network.named_modules() if _takes_statistics(m, lone is not None)}
    if not watched:
        return []

    def note(path: str, module: nn.Module, inputs: tuple) -> None:
        shape = inputs[0].shape  # N x C, N x C x L or N x C x H x W, of one image
        if shape[0] == 1 and shape.numel() == shape[1]:
            kinds[next(kind for kind in kinds if isinstance(module, kind))].append(path)

    behind = {p: m for p, m in network.named_modules() if p.startswith('roi_head.')}
    with _watching(watched, note), _watching(behind, _stop):
        _run(network, data)
    batch, instance = kinds.values()
    found = []
    if batch:
        why = f'{lone.what} and batch norm on a 1 x 1 map ({first_few(batch, 2)}): one value has no variance'
        found.append(f"{why}. {lone.cure}; or set norm_cfg=dict(type='GN', num_groups=...) in that part.")
    if instance:
        why = f'model: instance norm on a 1 x 1 map ({first_few(instance, 2)}): one value has no variance'
        found.append(f'{why}, whatever the batch size. Set another norm_cfg in that part.')
    return found


def _takes_statistics(module: nn.Module, lone: bool) -> bool:
    """Whether a layer normalises by the values of a batch of one, or of each image, in training."""
    if isinstance(module, nn.SyncBatchNorm) and torch.distributed.is_initialized():
        lone = lone and torch.distributed.get_world_size() == 1
    if isinstance(module, _BatchNorm):
        return lone and (module.training or module.running_mean is None)
    return isinstance(module, _InstanceNorm) and (module.training or not module.track_running_stats)


@contextmanager
def _watching(modules: Mapping[str, nn.Module], note: Callable) -> Iterator[None]:
    """Call ``note(path, module, inputs)`` before each call of some modules."""
    handles = [m.register_forward_pre_hook(partial(note, path)) for path, m in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stop(path: str, module: nn.Module, inputs: tuple) -> None:
    raise StopForward


def _run(network: BaseModel, data: dict) -> None:
    """Run a network and its auxiliary heads as far as they come; a failure is told by the step itself."""
    heads = getattr(network, 'auxiliary_head', None)
    try:
        with eval_mode(network), torch.no_grad():
            network(data['inputs'], data.get('data_samples'), mode='tensor')
            if heads is not None:
                features = network.extract_feat(data['inputs'])
                for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
                    head(features)
    except Exception:
        pass
