"""What a check says about networks."""

import math

import pytest
import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from kd_methods.check.networks import count_flops, segmentation_quality, skip_downloads


class Toy(BaseModel):
    """One convolution that knows a fixed answer."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 5, 3, padding=1)
        self.decode_head = nn.Identity()
        self.decode_head.conv_seg = nn.Identity()

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.backbone(inputs)

    def encode_decode(self, inputs, metas):
        logits = torch.zeros(len(inputs), 5, 4, 4)
        logits[:, 2] = self.sure
        return logits


def samples(label: int) -> list:
    return [SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, 8, 8), label)))]


def test_flops_are_multiply_adds():
    flops, why = count_flops(Toy(), (10, 20))
    assert flops == 3 * 5 * 9 * 10 * 20 and why == ''


def test_flops_of_what_cannot_be_traced():
    network = Toy()
    network.backbone = None
    flops, why = count_flops(network, (8, 8))
    assert flops is None and why


@pytest.mark.parametrize('sure, label, better', [(0.0, 2, None), (3.0, 2, True), (3.0, 1, False)])
def test_quality_beside_chance(sure, label, better):
    network = Toy()
    network.sure = sure
    quality = segmentation_quality(network, torch.zeros(1, 3, 8, 8), samples(label))
    assert quality.chance == pytest.approx(math.log(5)) and quality.commonest == 1
    expected = math.log(4 + math.exp(sure)) - (sure if label == 2 else 0)
    assert quality.loss == pytest.approx(expected, rel=1e-5)
    assert better is None or (quality.loss < quality.chance) == better == bool(quality.accuracy)


def test_quality_needs_labels_of_the_networks_classes():
    network = Toy()
    network.sure = 1.0
    assert segmentation_quality(network, torch.zeros(1, 3, 8, 8), samples(255)) is None
    assert segmentation_quality(network, torch.zeros(1, 3, 8, 8), samples(5)) is None
    assert segmentation_quality(network, torch.zeros(1, 3, 8, 8), [SegDataSample()]) is None


def test_downloads_are_skipped_and_files_are_not(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    remote = dict(type='Pretrained', checkpoint='https://nowhere.invalid/net.pth')
    kept = [dict(type='Kaiming', layer='Conv2d'), dict(type='Pretrained', checkpoint='mine.pth')]
    model = nn.ModuleList(
        [BaseModule(init_cfg=[kept[0], remote]), BaseModule(init_cfg=kept), BaseModule(init_cfg=remote)]
    )
    assert skip_downloads(model) == [remote['checkpoint']] * 2
    assert model[0].init_cfg == kept[:1] and model[1].init_cfg == kept and model[2].init_cfg is None
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / 'net.pth').touch()
    assert skip_downloads(nn.ModuleList([BaseModule(init_cfg=remote)])) == [], 'it is in the cache already'
