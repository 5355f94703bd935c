"""Folded batch norms: the same network to rounding, and what stays unfolded."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from toys import tiny_model, tiny_segformer

from kd_methods.networks.folding import fold_batch_norm
from kd_methods.networks.recording import INPUTS, OUTPUTS, CallRecorder, tensors_of


def trained(network):
    """In double precision, frozen, with statistics of its own."""
    g = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            for tensor, low in ((module.running_mean, -1), (module.bias, -1)):
                tensor.data.uniform_(low, 1, generator=g)
            for tensor in (module.running_var, module.weight):
                tensor.data.uniform_(0.5, 2, generator=g)
    return network.double().eval().requires_grad_(False)


def outputs(network, size=64):
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return tensors_of(network(x))


@pytest.mark.parametrize('cfg', [tiny_model(4, 'BN'), tiny_segformer()])
def test_the_network_computes_the_same(cfg):
    network = trained(MODELS.build(copy.deepcopy(cfg)))
    before, state = outputs(network), {k: v.clone() for k, v in network.state_dict().items()}
    norms = sum(isinstance(module, _BatchNorm) for module in network.modules())
    assert fold_batch_norm(network) == norms > 0 and fold_batch_norm(network) == 0
    for old, new in zip(before, outputs(network)):
        torch.testing.assert_close(old, new, rtol=1e-9, atol=1e-12)
    assert all(value.equal(state[name]) for name, value in network.state_dict().items())


def test_a_network_that_is_moved_is_folded_again():
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3, padding_mode='reflect', padding=1), nn.BatchNorm2d(4)))
    before = outputs(network)[0]
    assert fold_batch_norm(network) == 1
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network.float()(x.float()).double(), before, rtol=1e-4, atol=1e-4)
    assert network.to('meta')(x.to('meta').float()).device.type == 'meta'


@pytest.mark.parametrize('place', [(OUTPUTS, '0.conv'), (INPUTS, '0.bn')])
def test_a_pair_that_is_read_between_stays(place):
    network = trained(nn.Sequential(*(ConvModule(3, 3, 3, norm_cfg=dict(type='BN')) for _ in range(2))))
    recorder, x = CallRecorder(network, {place: None}), torch.randn(1, 3, 9, 9, dtype=torch.float64)
    with recorder as before:
        network(x)
    assert fold_batch_norm(network, [place]) == 1
    with recorder as after:
        network(x)
    assert torch.equal(*(tensors_of(records.all(place))[0] for records in (before, after)))


def test_what_is_read_after_the_pair_keeps_its_value():
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)))
    recorder = CallRecorder(network, {(OUTPUTS, '1'): None}, clone=[(OUTPUTS, '1')])
    x = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    values = []
    for _ in range(2):
        with recorder as records:
            network(x)
        values += tensors_of(records.all((OUTPUTS, '1')))
        fold_batch_norm(network)
    torch.testing.assert_close(*values, rtol=1e-9, atol=1e-12)


class Shared(nn.Module):
    """One convolution for two levels, each with its norm, as in mmdet's SepBN heads."""

    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList(ConvModule(3, 3, 1, norm_cfg=dict(type='BN')) for _ in range(2))
        self.levels[1].conv = self.levels[0].conv

    def forward(self, x):
        return [level(x) for level in self.levels]


@pytest.mark.parametrize(
    'network',
    [
        Shared(),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.InstanceNorm2d(3)),
        nn.Sequential(nn.ConvTranspose2d(3, 3, 1), nn.BatchNorm2d(3)),
        ConvModule(3, 3, 1, norm_cfg=dict(type='BN'), order=('act', 'norm', 'conv')),
    ],
)
def test_what_cannot_be_folded_stays(network):
    network = network.double().eval().requires_grad_(False)
    before = outputs(network)
    assert fold_batch_norm(network) == 0
    assert all(map(torch.equal, before, outputs(network)))
