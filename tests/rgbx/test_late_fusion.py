import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, DefaultScope
from toys import tiny_model

import kd_methods  # noqa: F401
from kd_methods.networks.probe import probe_network
from kd_methods.networks.taps import resolve_tap
from kd_methods.rgbx import LateFusionHead

PSP = tiny_model(8, 'BN')['decode_head']
SEGFORMER = dict(
    type='SegformerHead',
    in_channels=[8, 16, 32, 64],
    in_index=[0, 1, 2, 3],
    channels=16,
    dropout_ratio=0.1,
    num_classes=11,
    norm_cfg=dict(type='BN'),
    align_corners=False,
)
PLUS = dict(PSP, type='DepthwiseSeparableASPPHead', dilations=(1, 3), c1_in_channels=8, c1_channels=4)
PLUS.pop('pool_scales')
HEADS = dict(psp=PSP, segformer=SEGFORMER, deeplabv3plus=PLUS)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def build(**head):
    torch.manual_seed(0)
    model = tiny_model(8, 'BN')
    model.update(
        backbone=dict(type='DuplexEncoder', rgb=model['backbone'], fusion=None),
        auxiliary_head=None,
        decode_head=dict(type='LateFusionHead', **head),
        data_preprocessor=dict(
            model['data_preprocessor'], type='RGBXDataPreProcessor', x_mean=[0.0], x_std=[1.0]
        ),
    )
    return MODELS.build(model).eval()


@pytest.fixture
def image():
    return torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(1))


def inputs_of(head, feats):
    """The map that a head's classifier gets."""
    kept = []
    handle = head.conv_seg.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    head(feats)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize('name', HEADS)
@torch.no_grad()
def test_features_before_the_classifier_are_summed(name, image):
    model = build(rgb=HEADS[name])
    head, feats = model.decode_head, model.extract_feat(image)
    before = inputs_of(head.rgb, feats[:4]) + inputs_of(head.x, feats[4:])
    torch.testing.assert_close(model(image), head.conv_seg(before))
    assert not any(
        'conv_seg' in name for name, _ in (*head.rgb.named_parameters(), *head.x.named_parameters())
    )


@torch.no_grad()
def test_features_may_be_concatenated_with_heads_of_other_widths(image):
    model = build(rgb=PSP, x=dict(PSP, channels=8), fusion='concat')
    head, feats = model.decode_head, model.extract_feat(image)
    both = torch.cat([inputs_of(head.rgb, feats[:4]), inputs_of(head.x, feats[4:])], 1)
    torch.testing.assert_close(model(image), head.conv_seg(head.fuse(both)))
    with pytest.raises(ValueError, match="channels of rgb 16, of x 8, of the whole 16. Set fusion='concat'"):
        build(rgb=PSP, x=dict(PSP, channels=8))


@torch.no_grad()
def test_logits_are_averaged(image):
    model = build(rgb=PSP, at='logits')
    head, feats = model.decode_head, model.extract_feat(image)
    torch.testing.assert_close(model(image), (head.rgb(feats[:4]) + head.x(feats[4:])) / 2)


@pytest.mark.parametrize('at', ['features', 'logits'])
def test_taps_find_the_common_maps(at, image):
    model = build(rgb=PSP, at=at)
    probe = probe_network(model, 'teacher', (64, 64))
    assert probe.error is None
    assert resolve_tap(probe, 'logits').shape == (1, 11, 8, 8)
    assert resolve_tap(probe, 'features').shape == (1, 16 if at == 'features' else 11, 8, 8)


def test_it_trains_and_counts_classes_once(image):
    model = build(rgb=PSP, num_classes=5).train()
    assert model.num_classes == model.decode_head.rgb.num_classes == 5
    logits = model(image)
    F.cross_entropy(logits, torch.randint(0, 5, (2, 8, 8))).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize('at', ['features', 'logits'])
def test_what_concerns_both_heads_reaches_both(at, image):
    binary = dict(
        PSP,
        num_classes=2,
        out_channels=1,
        threshold=0.3,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
    )
    head = build(rgb=binary, at=at, align_corners=True).decode_head
    assert head.out_channels == head.rgb.out_channels == 1 and head.threshold == 0.3
    assert head.align_corners and head.rgb.align_corners and head.x.align_corners
    assert head([torch.randn(1, c, 8, 8) for c in (8, 16, 32, 64)] * 2).shape == (1, 1, 8, 8)


def test_mistakes_are_named(image):
    with pytest.raises(ValueError, match='expected the stages of RGB and as many of X. Got: 3 maps'):
        build(rgb=PSP).decode_head([image] * 3)
    with pytest.raises(ValueError, match="at='start' is not known"):
        LateFusionHead(rgb=PSP, at='start')
