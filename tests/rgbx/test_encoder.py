import copy

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

import kd_methods  # noqa: F401
from kd_methods.rgbx import DuplexEncoder

R18 = dict(
    type='ResNetV1c',
    depth=18,
    stem_channels=8,
    base_channels=8,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    strides=(1, 2, 1, 1),
    dilations=(1, 1, 2, 4),
    norm_cfg=dict(type='BN'),
)
MIT = dict(type='MixVisionTransformer', embed_dims=8, num_layers=[1, 1, 1, 1], num_heads=[1, 2, 5, 8])
MOBILE = dict(type='MobileNetV2', widen_factor=0.25, out_indices=(1, 2, 4, 6))
BACKBONES = dict(resnet=R18, mit=MIT)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def encoder(**cfg):
    torch.manual_seed(0)
    net = DuplexEncoder(**cfg)
    net.init_weights()
    return net.eval()


@pytest.fixture
def image():
    return torch.randn(2, 4, 64, 96, generator=torch.Generator().manual_seed(1))


def stages_by_hand(net, image, fuse):
    """Both backbones run stage by stage: what is fused goes on."""
    rgb, x = image[:, :3], image[:, 3:].repeat(1, 3, 1, 1)
    outs = []
    if hasattr(net.rgb, 'res_layers'):
        rgb, x = (b.maxpool(b.stem(v)) for b, v in ((net.rgb, rgb), (net.x, x)))
        for name in net.rgb.res_layers:
            x = getattr(net.x, name)(x)
            rgb = fuse(len(outs), getattr(net.rgb, name)(rgb), x)
            outs.append(rgb)
    else:
        for a, b in zip(net.rgb.layers, net.x.layers):
            maps = []
            for (embed, blocks, norm), value in ((a, rgb), (b, x)):
                value, size = embed(value)
                for block in blocks:
                    value = block(value, size)
                maps.append(norm(value).transpose(1, 2).unflatten(2, size))
            rgb, x = fuse(len(outs), *maps), maps[1]
            outs.append(rgb)
    return outs


@pytest.mark.parametrize('fusion', ['sum', 'concat'])
@pytest.mark.parametrize('kind', BACKBONES)
@torch.no_grad()
def test_each_stage_takes_what_was_fused_before_it(kind, fusion, image):
    net = encoder(rgb=BACKBONES[kind], fusion=fusion)
    fuse = (lambda i, a, b: a + b) if fusion == 'sum' else (lambda i, a, b: net.fuse[i](torch.cat([a, b], 1)))
    expected = stages_by_hand(net, image, fuse)
    got = net(image)
    assert len(got) == 4
    for a, b in zip(got, expected):
        torch.testing.assert_close(a, b)
    alone = net.rgb(image[:, :3])  # no hook is left behind, and X has an influence
    torch.testing.assert_close(alone[0], net.rgb(image[:, :3])[0])
    assert not torch.allclose(alone[3], got[3])


@pytest.mark.parametrize('cfg', [R18, MIT, MOBILE], ids=lambda cfg: cfg['type'])
@torch.no_grad()
def test_fusion_for_the_head_alone_takes_any_backbone(cfg, image):
    net = encoder(rgb=cfg, feed='head')
    x = image[:, 3:].repeat(1, 3, 1, 1)
    for got, a, b in zip(net(image), net.rgb(image[:, :3]), net.x(x)):
        torch.testing.assert_close(got, a + b)


@torch.no_grad()
def test_without_fusion_it_gives_both(image):
    net = encoder(rgb=R18, fusion=None)
    outs = net(image)
    expected = [*net.rgb(image[:, :3]), *net.x(image[:, 3:].repeat(1, 3, 1, 1))]
    assert len(outs) == 8 and all(a.equal(b) for a, b in zip(outs, expected))


@torch.no_grad()
def test_encoders_may_differ_where_they_are_concatenated(image):
    narrow = dict(R18, stem_channels=4, base_channels=4)
    net = encoder(rgb=R18, x=narrow, fusion='concat')
    assert [o.shape[1] for o in net(image)] == [8, 16, 32, 64]
    with pytest.raises(ValueError, match="fusion='sum' needs stages of one shape.*Set fusion='concat'"):
        encoder(rgb=R18, x=narrow)
    with pytest.raises(ValueError, match='different sizes. Give both the same strides'):
        encoder(rgb=R18, x=dict(R18, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)), fusion='concat')


def test_weights_of_a_three_channel_stem_serve_one_channel_of_x(tmp_path, image):
    """Both encoders start from the file, and X's stem filters its channel by the sum of the three filters."""
    torch.manual_seed(5)
    pretrained = MODELS.build(R18)
    torch.save(dict(state_dict=pretrained.state_dict()), tmp_path / 'r18.pth')
    net = DuplexEncoder(dict(R18, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'r18.pth'))))
    net.init_weights()
    for part in (net.rgb, net.x):
        for name, value in pretrained.state_dict().items():
            assert part.state_dict()[name].equal(value), name
    x = image[:, 3:]
    conv = net.x.stem[0]
    filtered = torch.nn.functional.conv2d(x, conv.weight.sum(1, keepdim=True), stride=2, padding=1)
    torch.testing.assert_close(conv(x.expand(-1, 3, -1, -1)), filtered)


@torch.no_grad()
def test_other_numbers_of_channels():
    assert encoder(rgb=R18, x_channels=3)(torch.randn(1, 6, 64, 64))[3].shape == (1, 64, 8, 8)
    net = encoder(rgb=R18, x=dict(R18, in_channels=2), x_channels=2)
    assert net.input_channels == 5 and net(torch.randn(1, 5, 64, 64))[0].shape == (1, 8, 16, 16)
    with pytest.raises(ValueError, match='x_channels=2, but the stem of x takes 3. Set x.in_channels=2'):
        encoder(rgb=R18, x_channels=2)


def test_gradient_reaches_both_and_copies_are_independent(image):
    net = encoder(rgb=R18).train()
    twin = copy.deepcopy(net)  # an averaged model is one
    net(image)[3].sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert all(p.grad is None for p in twin.parameters())
    with torch.no_grad():
        before = twin.eval()(image)[3].clone()
        for p in net.parameters():
            p.zero_()
        assert twin(image)[3].equal(before)


def test_building_leaves_batch_statistics_alone():
    net = DuplexEncoder(R18)
    assert (
        net.training and net.rgb.stem[1].running_mean.eq(0).all() and net.rgb.stem[1].num_batches_tracked == 0
    )


def test_mistakes_are_named(image):
    with pytest.raises(
        ValueError, match=r'expected 4 channels, R, G, B and 1 of X. Got: \(2, 3, 64, 96\). Load X with'
    ):
        encoder(rgb=R18)(image[:, :3])
    with pytest.raises(ValueError, match="MobileNetV2 does not name its stages.*Set feed='head'"):
        encoder(rgb=MOBILE)
    with pytest.raises(ValueError, match='out_indices gives 2 of 4. Set rgb.out_indices=.0, 1, 2, 3.'):
        encoder(rgb=dict(R18, out_indices=(2, 3)))
    with pytest.raises(ValueError, match='ResNetV1c does not take an image of 3 x 64 x 64'):
        encoder(rgb=dict(R18, in_channels=1))
    with pytest.raises(ValueError, match="fusion='add' is not known. Possible: 'sum', 'concat', None"):
        encoder(rgb=R18, fusion='add')
