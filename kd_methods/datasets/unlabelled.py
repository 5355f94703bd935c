"""Images without labels in the training of a segmentor: the teacher is their label."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform, LoadAnnotations, LoadImageFromFile
from mmengine.dataset import ConcatDataset
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS
from torch.utils.data import Sampler

from kd_methods.datasets.entries import without_label_folder
from kd_methods.datasets.wrapper import Wrapper
from kd_methods.distill.labels import UNLABELLED


@TRANSFORMS.register_module()
class LoadNoLabels(BaseTransform):
    """Give an image a label map on which every pixel is ignored; no file is read.

    Args:
        ignore_index (int): The label that the student's head ignores. Defaults to 255.
    """

    def __init__(self, ignore_index: int = 255) -> None:
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Add ``gt_seg_map``."""
        results['gt_seg_map'] = np.full(results['img'].shape[:2], self.ignore_index, np.uint8)
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results


@DATASETS.register_module()
class UnlabelledDataset(Wrapper):
    """A segmentation data set of which only the images are used.

    ``LoadAnnotations`` in its pipeline is replaced by :class:`LoadNoLabels`: all other transforms do what
    they do to labelled images, no label file is read, and none has to be there. Each sample's metainfo says
    ``unlabelled=True``. The task loss counts none of its pixels, and losses that compare two networks count
    them all, but padding. Losses that need labels take the teacher's predictions there by ``labels=
    'truth+teacher'`` of the algorithm. Beside a labelled data set::

        train_dataloader = dict(
            batch_size=8,
            sampler=dict(type='ShareSampler', counts=(2, 6)),
            dataset=dict(type='ConcatDataset', datasets=[
                dict(type='CamVidDataset', ...),
                dict(type='UnlabelledDataset', dataset=dict(type='CamVidDataset', ...)),
            ]))

    Args:
        dataset (dict): Config of the data set, with its pipeline.
        ignore_index (int): The label that the student's head ignores. Defaults to 255.

    Raises:
        TypeError: The data set has no pipeline that loads an image.
    """

    def __init__(self, dataset: dict, ignore_index: int = 255) -> None:
        built = not isinstance(dataset, dict)
        super().__init__(dataset if built else DATASETS.build(without_label_folder(dataset)))
        steps = getattr(getattr(self.dataset, 'pipeline', None), 'transforms', None)
        loads = [i for i, step in enumerate(steps or ()) if isinstance(step, LoadImageFromFile)]
        if not loads:
            what = 'a segmentation data set whose pipeline begins with LoadImageFromFile'
            raise TypeError(f'UnlabelledDataset.dataset must be {what}. Got: {dataset!r}')
        steps.insert(loads[0] + 1, LoadNoLabels(ignore_index))
        steps[:] = [step for step in steps if not isinstance(step, LoadAnnotations)]

    def __getitem__(self, index: int) -> dict:
        results = self.dataset[index]
        results['data_samples'].set_metainfo({UNLABELLED: True})
        return results


@DATA_SAMPLERS.register_module()
class ShareSampler(Sampler):
    """Batches to which each part of a ``ConcatDataset`` gives the same number of samples, without end.

    Each part is passed through in an order of its own, anew after each pass. Of several processes each gets
    other samples. A resumed run goes on where it was.

    Args:
        dataset (ConcatDataset): The parts.
        counts (Sequence[int]): Samples of each part in a batch; their sum is the ``batch_size``.
        shuffle (bool): Whether the order is random. Defaults to True.
        seed (int | None): Of the order. Defaults to None, one that all processes agree on.

    Raises:
        ValueError: Not one count for each part, or a negative one, or none above 0.
    """

    def __init__(
        self, dataset: ConcatDataset, counts: Sequence[int], shuffle: bool = True, seed: int | None = None
    ) -> None:
        sizes = [len(part) for part in getattr(dataset, 'datasets', [])]
        whole = [isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts]
        if len(counts) != len(sizes) or not all(whole) or not any(counts):
            parts = f'the {len(sizes)} data sets of {type(dataset).__name__} (ConcatDataset joins several)'
            key = 'train_dataloader.sampler.counts'
            raise ValueError(f'{key}: give a number of samples for each of {parts}. Got: {counts!r}')
        self.sizes, self.counts, self.shuffle = sizes, tuple(counts), shuffle
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.skipped = 0

    def skip(self, num_samples: int) -> None:
        """Begin behind so many samples of this process, as mmengine's loops ask on resume."""
        self.skipped = num_samples

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._indices(), self.skipped, None)

    def __len__(self) -> int:
        return sum(self.sizes)

    def set_epoch(self, epoch: int) -> None:
        """Not needed: there is no epoch."""

    def _indices(self) -> Iterator[int]:
        starts = list(itertools.accumulate(self.sizes, initial=0))
        streams = [self._part(i, size, start) for i, (size, start) in enumerate(zip(self.sizes, starts))]
        while True:
            for stream, count in zip(streams, self.counts):
                yield from itertools.islice(stream, count)

    def _part(self, number: int, size: int, start: int) -> Iterator[Any]:
        """Indices of one part for this process."""

        def endless() -> Iterator[int]:
            generator = torch.Generator().manual_seed(self.seed + number)
            while True:
                order = torch.randperm(size, generator=generator) if self.shuffle else torch.arange(size)
                yield from (order + start).tolist()

        return itertools.islice(endless(), self.rank, None, self.world_size)
