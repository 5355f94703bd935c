import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from kd_methods.networks.probe import format_shape, probe_network, shapes_of


class Toy(BaseModel):
    """A shared head called for two levels, an in-place ReLU, and a layer that nobody calls."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.bn = nn.BatchNorm2d(6)
        self.head = nn.Conv2d(6, 2, 1)
        self.idle = nn.Conv2d(6, 2, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = self.relu(self.stem(inputs))
        return self.head(self.drop(x)), self.head(self.bn(x)[..., ::2, ::2])


def test_counts_firings_and_finds_shapes():
    probe = probe_network(Toy(), size=(16, 24))
    assert probe.error is None
    assert [f.outputs for f in probe.firings['head']] == [(1, 2, 8, 12), (1, 2, 4, 6)]
    assert probe.firings['stem'][0].inputs == [
        (1, 4, 16, 24)
    ]  # as many channels as the first convolution takes
    assert 'idle' not in probe.firings


def test_in_place_changes_are_seen():
    firings = probe_network(Toy()).firings
    assert firings['stem'][0].outputs_changed and firings['relu'][0].inputs_changed
    assert not firings['bn'][0].outputs_changed and not firings['head'][1].outputs_changed


def test_leaves_the_network_as_it_was():
    model = Toy()
    model.train()
    model.bn.eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random_state = torch.get_rng_state()
    probe_network(model)
    assert model.training and model.stem.training and not model.bn.training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_error_on_the_way_keeps_what_was_found():

    class Stuck(Toy):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            self.stem(inputs)
            raise RuntimeError('needs boxes')

    probe = probe_network(Stuck())
    assert 'stem' in probe.firings and 'needs boxes' in str(probe.error)


@pytest.mark.parametrize(
    'scope,cfg',
    [
        (
            'mmdet',
            dict(
                type='RetinaNet',
                backbone=dict(type='ResNet', depth=18, base_channels=4),
                neck=dict(
                    type='FPN',
                    in_channels=[4, 8, 16, 32],
                    out_channels=8,
                    num_outs=5,
                    start_level=1,
                    add_extra_convs='on_input',
                ),
                bbox_head=dict(
                    type='RetinaHead',
                    num_classes=3,
                    in_channels=8,
                    feat_channels=8,
                    stacked_convs=1,
                    anchor_generator=dict(
                        type='AnchorGenerator',
                        octave_base_scale=4,
                        scales_per_octave=3,
                        ratios=[0.5, 1.0, 2.0],
                        strides=[8, 16, 32, 64, 128],
                    ),
                ),
            ),
        )
    ],
)
def test_a_detector_runs_and_its_shared_head_fires_once_a_level(scope, cfg):
    probe = probe_network(MODELS.build(dict(cfg, _scope_=scope)))
    assert probe.error is None
    assert len(probe.firings['bbox_head.retina_cls']) == 5
    assert len(probe.firings['neck'][0].outputs) == 5


def test_shapes_are_readable():
    assert shapes_of((torch.zeros(1, 2), dict(a=torch.zeros(3)), None)) == [(1, 2), dict(a=(3,)), None]
    assert format_shape([(1, 2, 3), None]) == '(1x2x3, -)'


def test_a_stem_that_folds_pixels_into_channels_gets_an_image():
    from mmengine.hub import get_config

    model = dict(get_config('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py').model.to_dict(), _scope_='mmdet')
    probe = probe_network(MODELS.build(model))
    assert probe.error is None and len(probe.firings['neck'][0].outputs) == 3
