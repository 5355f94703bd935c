"""Samples that are augmented the same way each time."""

import random

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(64, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(24, 24)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]


@pytest.fixture
def make(tiny_scenes):
    def build(pipeline=PIPELINE, wrap=None, **options):
        prefix = dict(img_path='train/images', seg_map_path='train/labels')
        inner = dict(type='SceneDataset', data_root=str(tiny_scenes), data_prefix=prefix, pipeline=pipeline)
        inner = inner if wrap is None else dict(type=wrap, dataset=inner)
        with DATASETS.switch_scope_and_registry('mmseg') as registry:
            return registry.build(dict(type='SeededVariants', dataset=inner, **options))

    return build


def key(sample):
    return sample['data_samples'].metainfo['teacher_cache_key']


def test_a_sample_is_the_same_each_time(make):
    dataset = make()
    np.random.seed(5)
    first = dataset[3]
    np.random.seed(6)
    again = dataset[3]
    assert first['inputs'].equal(again['inputs']) and key(first) == key(again)
    assert first['data_samples'].gt_sem_seg.data.equal(again['data_samples'].gt_sem_seg.data)
    assert first['data_samples'].metainfo['flip'] == again['data_samples'].metainfo['flip']


def test_a_sample_has_as_many_variants_as_it_should(make):
    dataset = make(variants=3)
    samples = [dataset[0] for _ in range(40)]
    assert len({key(s) for s in samples}) == len({s['inputs'].numpy().tobytes() for s in samples}) == 3
    assert key(dataset.variant(0, 2)) in {key(s) for s in samples}


def test_other_images_seeds_and_pipelines_have_other_keys(make):
    keys = [key(make()[i]) for i in (0, 1)] + [
        key(make(seed=1)[0]),
        key(make(PIPELINE[:-2] + PIPELINE[-1:])[0]),
    ]
    assert len(set(keys)) == 4
    assert not make(seed=1)[0]['inputs'].equal(make()[0]['inputs'])


def test_the_generators_go_on_as_if_nothing_had_been(make):
    dataset = make()
    draws = []
    for looks in (0, 2):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        for _ in range(looks):
            dataset[1]
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]


def test_it_wraps_images_without_labels(make):
    sample = make(wrap='UnlabelledDataset')[2]['data_samples']
    assert sample.metainfo['unlabelled'] and sample.metainfo['teacher_cache_key']


def test_parts_that_read_one_image_have_keys_of_their_own(tiny_scenes):
    """Another part may crop it in another way."""
    prefix = dict(img_path='train/images', seg_map_path='train/labels')
    inner = dict(type='SceneDataset', data_root=str(tiny_scenes), data_prefix=prefix, pipeline=PIPELINE)
    parts = [dict(inner, indices=2), dict(type='UnlabelledDataset', dataset=inner)]
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        joined = dict(type='ConcatDataset', datasets=parts)
        dataset = registry.build(dict(type='SeededVariants', dataset=joined))
        again = registry.build(dict(type='SeededVariants', dataset=registry.build(joined)))
        third = registry.build(dict(type='SeededVariants', dataset=registry.build(joined)))
    keys = [key(dataset[i]) for i in range(len(dataset))]
    assert len(set(keys)) == len(keys) == 18 and len(dataset.datasets) == 2
    assert key(again[3]) == key(third[3])  # of built parts too


@pytest.mark.parametrize('variants', [0, 1.5, True])
def test_a_number_of_variants_that_makes_no_sense_is_named(make, variants):
    with pytest.raises(ValueError, match=f'SeededVariants.variants must be a whole .* Got: {variants}'):
        make(variants=variants)
