import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from toys import tiny_beit, tiny_mask2former, tiny_model

from kd_methods.networks.config import build_network
from kd_methods.networks.probe import (
    dry_run_sizes,
    format_shape,
    plain_forward,
    probe_network,
    probe_networks,
    shapes_of,
    trained_size,
)


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


# ---------------------------------------------------------------- heads that ask for data samples

MASKFORMERS = dict(
    mmseg='mmseg::maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py',
    mmdet='mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py',
)


@pytest.mark.parametrize('package', MASKFORMERS)
def test_a_maskformer_of_both_packages_runs(package):
    parts = dict(backbone=dict(depth=18, init_cfg=None))
    head = 'decode_head' if package == 'mmseg' else 'panoptic_head'
    parts[head] = dict(in_channels=[64, 128, 256, 512])
    network = build_network(dict(cfg_path=MASKFORMERS[package], **parts))
    probe = probe_network(network, size=(64, 96))
    assert probe.error is None
    assert probe.firings[f'{head}.pixel_decoder'][0].outputs[0] == (1, 256, 16, 24)


def test_a_mask2former_of_mmseg_runs_and_is_left_as_it_was():
    network = build_network(tiny_mask2former())
    probe = probe_network(network, size=(64, 64))
    assert probe.error is None and len(probe.firings['decode_head.mask_embed']) == 2
    assert 'forward' not in vars(network.decode_head)


def test_real_samples_are_not_changed_by_a_plain_forward():
    network = build_network(tiny_mask2former()).eval()
    samples = [SegDataSample(metainfo=dict(img_shape=(64, 64))) for _ in range(2)]
    scores, masks = plain_forward(network, torch.zeros(2, 3, 64, 64), samples)
    assert scores[-1].shape == (2, 4, 12) and masks[-1].shape == (2, 4, 16, 16)
    assert all(set(sample.metainfo) == {'img_shape'} for sample in samples)


def test_a_network_may_make_its_own_samples():
    class Own(Toy):
        def dry_run_samples(self, size):
            return ['mine', size]

        def forward(self, inputs, data_samples=None, mode='tensor'):
            assert data_samples == ['mine', (32, 48)]
            return super().forward(inputs)

    assert probe_network(Own(), size=(32, 48)).error is None


def test_a_detector_whose_plain_forward_computes_a_loss_gets_an_object():
    parts = dict(backbone=dict(depth=18, init_cfg=None), neck=dict(in_channels=[64, 128, 256, 512]))
    network = build_network(
        dict(cfg_path='mmdet::condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py', **parts)
    )
    probe = probe_network(network)
    assert probe.error is None and 'mask_head' in ' '.join(probe.firings)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    'preprocessor,test_cfg,expected',
    [
        (dict(size=(96, 64)), {}, [(96, 64), (128, 128)]),
        (dict(size=(512, 1024)), {}, [(128, 128), (512, 1024)]),
        (dict(size_divisor=32), dict(crop_size=(640, 640)), [(128, 128), (640, 640)]),
        (dict(size_divisor=32), dict(mode='whole'), [(128, 128), (512, 512)]),
        (dict(size=(128, 128)), {}, [(128, 128)]),
    ],
)
def test_sizes_that_a_segmentor_is_trained_on(preprocessor, test_cfg, expected):
    model = tiny_model()
    model['data_preprocessor'] = dict(type='SegDataPreProcessor', **preprocessor)
    assert dry_run_sizes(build_network(dict(model, test_cfg=dict(test_cfg)))) == expected


def test_a_size_that_a_detector_pads_to():
    from mmdet.models import BatchFixedSizePad, DetDataPreprocessor

    assert trained_size(DetDataPreprocessor(pad_size_divisor=32)) is None
    pads = DetDataPreprocessor(
        batch_augments=[dict(type='BatchFixedSizePad', size=(96, 64), _scope_='mmdet')]
    )
    assert isinstance(pads.batch_augments[0], BatchFixedSizePad) and trained_size(pads) == (96, 64)


@pytest.mark.parametrize('side', [64, 160])
def test_a_network_of_one_size_runs_on_it(side):
    network = build_network(tiny_beit(side))
    (probe,) = probe_networks(dict(teacher=network), dry_run_sizes(network))
    assert probe.error is None and probe.size == (side, side)


def test_two_networks_run_on_one_size():
    networks = dict(student=build_network(tiny_model()), teacher=build_network(tiny_beit(160)))
    probes = probe_networks(networks, dry_run_sizes(*networks.values(), networks['teacher']))
    assert probes[0].error is None and probes[1].failure
    sizes = dry_run_sizes(networks['teacher'], networks['student'])
    assert [p.size for p in probe_networks(networks, sizes)] == [(160, 160)] * 2


def test_a_failure_is_told_with_network_size_cause_and_key():
    failure = probe_network(build_network(tiny_beit(64)), 'teacher', (96, 128)).failure
    assert failure.startswith('the dry run of the teacher (EncoderDecoder) on 96 x 128 pixels')
    assert 'ended with RuntimeError: The size of tensor' in failure and 'model.dry_run_size=' in failure


def test_a_failure_without_text_is_told():
    class Asserting(Toy):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            raise AssertionError

    assert 'ended with AssertionError: a check failed;' in probe_network(Asserting()).failure
