"""What the first batch of a run tells: single values under a norm, channels that do not fit."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from toys import tiny_model

from kd_methods.engine.first_batch import Lone, judge_first_batch, lone_images
from kd_methods.networks.config import build_network

ONE = Lone('train_dataloader.batch_size=1', 'Set batch_size=2 or more')
GRAY = dict(mean=[120.0], std=[60.0], bgr_to_rgb=False)


@pytest.fixture
def network(segmentation_scope):
    """``network(**changes of parts)``: a tiny PSPNet in training mode."""

    def make(norm: str = 'BN', **parts):
        cfg = tiny_model(4, norm)
        for part, changes in parts.items():
            cfg[part] = changes if changes is None else dict(cfg[part], **changes)
        return build_network(cfg, 'model').train()

    return make


def batch(images: int = 2, channels: int = 3, size: tuple = (64, 64)) -> dict:
    """As a dataloader gives it."""
    label = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
    samples = [SegDataSample(gt_sem_seg=label, metainfo=dict(img_shape=size)) for _ in range(images)]
    return dict(inputs=[torch.zeros(channels, *size, dtype=torch.uint8)] * images, data_samples=samples)


def judged(model, data: dict, lone: Lone | None = None) -> str:
    return ' '.join(judge_first_batch(model, model, data, lone))


def loader(images: int, size: int, sampler=DefaultSampler, drop_last: bool = False) -> DataLoader:
    data = list(range(images))
    return DataLoader(data, size, sampler=sampler(data), drop_last=drop_last)


def test_which_batches_hold_one_image():
    assert lone_images(loader(24, 1)) == lone_images(loader(24, 1, InfiniteSampler)) == ONE
    last = lone_images(loader(24, 23))
    assert 'an epoch of 24 images in batches of 23 ends with a batch of one' in last.what
    assert 'train_dataloader.drop_last=True' in last.cure
    for other in (loader(24, 12), loader(24, 23, drop_last=True), loader(24, 23, InfiniteSampler)):
        assert lone_images(other) is None
    data = list(range(5))
    batches = BatchSampler(SequentialSampler(data), 2, drop_last=False)
    assert 'an epoch of 5 images' in lone_images(DataLoader(data, batch_sampler=batches)).what


def test_a_run_that_ends_before_the_last_batch_of_an_epoch_has_none():
    assert lone_images(loader(24, 23), steps=1) is None
    assert lone_images(loader(24, 23), steps=2)


def test_of_several_processes_each_has_its_part(monkeypatch):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (0, 2))
    assert 'an epoch of 13 images' in lone_images(loader(26, 12)).what
    assert lone_images(loader(26, 25)) is None


def test_one_image_under_batch_norm_on_a_pooled_map(network):
    found = judged(network(), batch(1), ONE)
    assert found.startswith(
        'train_dataloader.batch_size=1 and batch norm on a 1 x 1 map (decode_head.psp_modules.0.1.bn)'
    )
    assert judged(network(), batch(2)) == ''  # no batch of one comes
    assert judged(network(decode_head=dict(pool_scales=(2, 3))), batch(1), ONE) == ''


def test_what_is_said_is_what_training_does(network):
    """A step of one image fails where it is said to, and passes where nothing is said."""
    for changes in ({}, dict(decode_head=dict(pool_scales=(2,))), dict(decode_head=dict(norm_cfg=None))):
        model = network(**changes)
        data = model.data_preprocessor(batch(1), True)
        if judged(model, batch(1), ONE):
            with pytest.raises(ValueError, match='Expected more than 1 value per channel'):
                model(**data, mode='loss')
        else:
            model(**data, mode='loss')


def test_a_norm_that_keeps_its_statistics_takes_one_image(network):
    model = network()
    for module in model.decode_head.modules():
        module.training = False
    assert judged(model, batch(1), ONE) == ''
    assert judged(network('GN'), batch(1), ONE) == ''


def test_small_images_make_small_maps(network):
    """The size that counts is that of the images of the run."""
    model = network(
        data_preprocessor=dict(size=(8, 8)), decode_head=dict(pool_scales=(2,)), auxiliary_head=None
    )
    assert 'backbone.' in judged(model, batch(1, size=(8, 8)), ONE)
    assert judged(network(decode_head=dict(pool_scales=(2,))), batch(1), ONE) == ''


def test_an_auxiliary_head_is_looked_at(segmentation_scope):
    pooling = dict(type='PSPHead', pool_scales=(1,), in_channels=16, in_index=2, channels=4, num_classes=11)
    norm = dict(norm_cfg=dict(type='BN'), loss_decode=dict(type='CrossEntropyLoss'))
    cfg = dict(tiny_model(4, 'BN'), auxiliary_head=[dict(pooling, **norm)])
    cfg['decode_head']['pool_scales'] = (2,)
    model = build_network(cfg, 'model').train()
    assert 'auxiliary_head.0.psp_modules' in judged(model, batch(1), ONE)


def test_instance_norm_needs_more_than_one_place_whatever_the_batch(network):
    model = network(decode_head=dict(norm_cfg=dict(type='IN')))
    assert judged(model, batch(2)).startswith(
        'model: instance norm on a 1 x 1 map (decode_head.psp_modules.0'
    )
    assert judged(network(decode_head=dict(norm_cfg=dict(type='IN'), pool_scales=(2,))), batch(2)) == ''


@pytest.mark.parametrize(
    'channels, changes, cure',
    [
        (4, {}, 'RGBXDataPreProcessor'),
        (6, {}, 'docs/rgbx.md'),
        (4, dict(data_preprocessor=dict(mean=None, std=None, bgr_to_rgb=False)), 'RGBXDataPreProcessor'),
        (3, dict(backbone=dict(in_channels=1), data_preprocessor=GRAY), "color_type='grayscale'"),
        (1, dict(data_preprocessor=GRAY), "Take color_type='grayscale' out of LoadImageFromFile"),
        (3, dict(backbone=dict(in_channels=4)), 'backbone.stem.0 takes 4'),
    ],
    ids=['4 images', '6 images', 'not normalised', 'gray network', 'gray images', '4 network'],
)
def test_channels_that_do_not_fit(network, channels, changes, cure):
    with pytest.raises(ValueError, match=f'the images of the batch have {channels} channels') as caught:
        judged(network(**changes), batch(channels=channels))
    assert cure in str(caught.value)


def test_gray_images_of_a_detector(segmentation_scope):
    from mmdet.models import DetDataPreprocessor

    model = torch.nn.Module()
    model.data_preprocessor = DetDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3, bgr_to_rgb=True)
    with pytest.raises(ValueError, match=r'1 channels, but DetDataPreprocessor takes 3 \(mean and std of 3'):
        judged(model, dict(inputs=[torch.zeros(1, 8, 8)], data_samples=None))


@pytest.mark.parametrize('channels', [1, 3])
def test_channels_that_fit(network, channels):
    """Gray images under statistics of three channels become images of three."""
    gray = dict(backbone=dict(in_channels=1), data_preprocessor=GRAY)
    assert judged(network(), batch(channels=channels)) == ''
    assert judged(network(**gray), batch(channels=1)) == ''


@pytest.mark.parametrize(
    'data', [None, [1, 2], dict(sup=dict(inputs=[])), dict(inputs=dict(a=1)), dict(inputs=[])]
)
def test_batches_of_another_form_are_left_alone(network, data):
    assert judged(network(), data, ONE) == ''


def test_nothing_is_changed(network):
    model, data = network(), batch(2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(0)
    judged(model, data, ONE)
    drawn = torch.rand(2), np.random.rand(), random.random()
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(0)
    assert torch.rand(2).equal(drawn[0]) and (np.random.rand(), random.random()) == drawn[1:]
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert data['data_samples'][0].gt_sem_seg.shape == (64, 64)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_training_says_it_before_its_first_step(tiny_config, tools, tmp_path):
    config = tiny_config('first_batch')
    with pytest.raises(ValueError, match='batch_size=1 and batch norm on a 1 x 1 map'):
        tools.train(
            [config, '--work-dir', tmp_path / 'run', '--cfg-options', 'train_dataloader.batch_size=1']
        )
    assert not list((tmp_path / 'run').glob('*.pth'))
