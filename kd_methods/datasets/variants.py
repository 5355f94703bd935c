"""Samples whose random augmentation repeats itself, so that what a teacher says of them can be kept."""

import hashlib
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS

from kd_methods.datasets.wrapper import Wrapper
from kd_methods.distill.teacher_cache import SAMPLE_KEY


@DATASETS.register_module()
class SeededVariants(Wrapper):
    """A data set whose samples each come in a fixed number of variants, augmented the same way each time.

    Which variant of a sample comes is random. Its random transforms draw from a seed made of ``seed``, the
    sample's place, its image's path and the number of the variant. Its metainfo says which it is, as
    ``cache_teacher`` of the algorithm needs::

        train_dataloader = dict(dataset=dict(type='SeededVariants', variants=4, dataset=dict(type=..., ...)))

    Transforms that draw from anything but the generators of ``random``, numpy and torch are not covered.

    Args:
        dataset (dict): Config of the data set, with its pipeline.
        variants (int): Variants of each sample; 1 is enough for a pipeline without randomness. Defaults to 1.
        seed (int): Makes other variants. Defaults to 0.

    Raises:
        ValueError: ``variants`` is no whole number above 0.
    """

    def __init__(self, dataset: dict, variants: int = 1, seed: int = 0) -> None:
        if not isinstance(variants, int) or isinstance(variants, bool) or variants < 1:
            raise ValueError(f'SeededVariants.variants must be a whole number above 0. Got: {variants!r}')
        built = not isinstance(dataset, dict)
        super().__init__(dataset if built else DATASETS.build(dataset))
        self.variants, self.seed = variants, seed
        recipe = _recipe(dataset) if built else json.dumps(dataset, sort_keys=True, default=str)
        self.recipe = hashlib.sha256(recipe.encode()).hexdigest()

    @property
    def datasets(self) -> list:
        """The parts of a ``ConcatDataset``, for samplers that ask."""
        return self.dataset.datasets

    def get_cat_ids(self, index: int) -> list[int]:
        """The classes of a sample, for wrappers that ask."""
        return self.dataset.get_cat_ids(index)

    def __getitem__(self, index: int) -> dict:
        variant = np.random.randint(self.variants) if self.variants > 1 else 0
        return self.variant(index, int(variant))

    def variant(self, index: int, number: int) -> dict:
        """A sample in one of its variants."""
        image = self.dataset.get_data_info(index).get('img_path', index)
        # The index too: another part of a ConcatDataset may read the same image in another way.
        key = hashlib.sha256(f'{self.seed} {number} {index} {image} {self.recipe}'.encode())
        with _seeded(int.from_bytes(key.digest()[:4], 'little')):
            results = self.dataset[index]
        results['data_samples'].set_metainfo({SAMPLE_KEY: key.hexdigest()})
        return results


def _recipe(dataset: Any) -> str:
    """What is done to the samples of a data set that is built, wrappers included."""
    inner = [getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', [])]
    parts = [_recipe(part) for part in inner if part is not None]
    steps = re.sub(
        ' at 0x[0-9a-f]+', '', repr(getattr(dataset, 'pipeline', ''))
    )  # not where it lies in memory
    return f'{type(dataset).__name__} {steps} {parts}'


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The host's generators with a seed, and as they were afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # not those of devices, which data does not draw from
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
