"""One batch for a check: a real one of the config's training data, or noise."""

import copy
import math
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kd_methods.data_check.paths import check_paths
from kd_methods.networks.heads import class_count, is_detector
from kd_methods.networks.probe import as_size, dry_run_input, trained_size

FALLBACK_SIZE = (512, 512)


def real_batch(cfg: Config, batch_size: int | None = None, seed: int = 0) -> tuple[dict, DataLoader]:
    """The first batch of the config's train_dataloader, read in this process, and the loader."""
    if cfg.get('train_dataloader') is None:
        cure = 'Inherit a dataset with _base_, or use --no-data for a batch of noise.'
        why = 'there is no `train_dataloader`, so there is no batch to check with'
        raise ValueError(f'CONFIG: {why}. {cure}')
    try:
        check_paths(cfg, 'train')
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{error} To check the networks without data: --no-data.') from error
    loader = in_process(cfg.train_dataloader, seed, **(dict(batch_size=batch_size) if batch_size else {}))
    return next(iter(loader)), loader


def in_process(cfg: dict, seed: int = 0, **changes: Any) -> DataLoader:
    """The loader of a config without workers, with some keys changed."""
    loader = {k: v for k, v in copy.deepcopy(cfg).items() if k not in ('prefetch_factor', 'timeout')}
    return Runner.build_dataloader(
        {**loader, 'num_workers': 0, 'persistent_workers': False, **changes}, seed=seed
    )


def synthetic_batch(
    network: BaseModel, batch_size: int, size: tuple[int, int], channels: int | None = None
) -> dict:
    """Noise with random labels, in the form that a dataloader gives to this network's preprocessor.

    ``channels`` are those of an image of a segmentor; None: what the network takes.
    """
    classes = class_count(network)
    if classes and hasattr(network, 'decode_head'):
        from mmseg.structures import SegDataSample

        channels = channels or dry_run_input(network, (8, 8)).shape[1]
        generator = torch.Generator().manual_seed(0)
        shape = (batch_size, channels, *size)
        images = list(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8))
        meta, samples = dict(img_shape=size, ori_shape=size, pad_shape=size), []
        for _ in range(batch_size):
            # Patches of one class each: a pixel-wise random label would give all classes the same features.
            patches = torch.randint(0, classes, (1, 1, 4, 4), generator=generator)
            label = nn.functional.interpolate(patches.float(), size, mode='nearest')[0].long()
            samples.append(SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=meta))
        return dict(inputs=images, data_samples=samples)
    if classes and is_detector(network):
        from mmdet.testing import demo_mm_inputs

        roi_head = getattr(network, 'roi_head', None)
        masks = bool(getattr(roi_head, 'with_mask', False) or hasattr(network, 'mask_head'))
        return demo_mm_inputs(batch_size, (3, *size), num_classes=classes, with_mask=masks)
    why = f'what a {type(network).__name__} is trained on is not known here, so no batch can be made up'
    raise ValueError(f'--no-data: {why}. Check it with its data.')


def dataset_classes(dataset: Any) -> int | None:
    """Number of classes that a dataset names."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    return len(classes) if classes else None


def label_map(samples: list | None) -> Tensor | None:
    """The ground truth of a preprocessed batch as N x H x W; None where there is no semantic one."""
    if not samples or 'gt_sem_seg' not in samples[0]:
        return None
    data = torch.stack([sample.gt_sem_seg.data for sample in samples])
    return data[:, 0] if data.dim() == 4 else data


def largest_label(samples: list | None, ignore_index: int = 255) -> int | None:
    """The highest class of a batch; None where it has no labels."""
    labels = label_map(samples)
    if labels is None:
        objects = [sample.gt_instances for sample in samples or [] if 'gt_instances' in sample]
        parts = [instances.labels for instances in objects if 'labels' in instances]
        if not parts:
            return None
        labels = torch.cat(parts)
    labels = labels[labels != ignore_index]
    return int(labels.max()) if labels.numel() else None


def planned_iterations(cfg: Config, dataset: Any) -> int | None:
    """Iterations of the run that a config describes; None where that is not known."""
    loop = cfg.get('train_cfg') or {}
    if loop.get('max_iters'):
        return loop['max_iters']
    images = (cfg.get('train_dataloader') or {}).get('batch_size')
    if not loop.get('max_epochs') or not images or dataset is None:
        return None
    return loop['max_epochs'] * math.ceil(len(dataset) / images)


def config_size(cfg: Config, network: BaseModel) -> tuple[int, int]:
    """Height and width that a config trains on, as far as it says: its crop."""
    return as_size(cfg.get('crop_size')) or trained_size(network) or FALLBACK_SIZE
