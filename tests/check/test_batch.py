"""Batches and labels of a check."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import nn

from kd_methods.check.batch import (
    class_count,
    config_size,
    label_map,
    largest_label,
    real_batch,
    synthetic_batch,
)


class Segmentor(BaseModel):
    """As much of a segmentor as a batch needs."""

    def __init__(self, channels: int = 4, classes: int = 3) -> None:
        super().__init__(BaseDataPreprocessor())
        self.backbone = nn.Conv2d(channels, 2, 1)
        self.decode_head = nn.Identity()
        self.decode_head.num_classes = classes

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.backbone(inputs)


def sample(*labels: int) -> SegDataSample:
    return SegDataSample(gt_sem_seg=PixelData(data=torch.tensor(labels).view(1, 1, -1)))


def test_noise_has_the_networks_channels_and_classes():
    batch = synthetic_batch(Segmentor(channels=4, classes=3), 2, (16, 24))
    assert [tuple(image.shape) for image in batch['inputs']] == [(4, 16, 24)] * 2
    labels = label_map(batch['data_samples'])
    assert labels.shape == (2, 16, 24) and set(labels.unique().tolist()) == {0, 1, 2}


def test_noise_is_refused_for_what_is_not_known():
    with pytest.raises(ValueError, match='--no-data: what a Unknown'):

        class Unknown(Segmentor):
            def __init__(self):
                super().__init__()
                del self.decode_head

        synthetic_batch(Unknown(), 1, (8, 8))


def test_largest_label_leaves_out_the_ignored():
    assert largest_label([sample(0, 4, 255), sample(2, 1, 255)]) == 4
    assert largest_label([sample(0, 4, 9)], ignore_index=9) == 4
    assert largest_label([sample(255, 255)]) is None
    assert largest_label(None) is None
    boxes = SegDataSample(gt_instances=InstanceData(labels=torch.tensor([1, 7])))
    assert largest_label([boxes]) == 7


def test_class_count_of_segmentors_and_detectors():
    assert class_count(Segmentor(classes=5)) == 5
    cascade = nn.Module()
    cascade.decode_head = nn.ModuleList([Segmentor(classes=n).decode_head for n in (2, 6)])
    assert class_count(cascade) == 6
    detector = nn.Module()
    detector.roi_head = nn.Module()
    detector.roi_head.bbox_head = Segmentor(classes=8).decode_head
    assert class_count(detector) == 8
    assert class_count(nn.Identity()) is None


def test_config_size():
    network = SimpleNamespace(data_preprocessor=SimpleNamespace(size=(30, 40)))
    assert config_size(Config(dict(crop_size=(10, 20))), network) == (10, 20)
    assert config_size(Config(dict()), network) == (30, 40)
    assert config_size(Config(dict()), SimpleNamespace(data_preprocessor=None)) == (512, 512)


def test_config_without_data():
    with pytest.raises(ValueError, match='no `train_dataloader`.*--no-data'):
        real_batch(Config(dict(model=dict())))
