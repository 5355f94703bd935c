"""A frozen network's parts under torch.compile."""

import copy

import pytest
import torch
from torch import nn

from kd_methods.networks.compiling import compile_parts
from kd_methods.networks.recording import OUTPUTS, CallRecorder


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)) for _ in range(3)])
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.pool(x)


@pytest.fixture
def eager_backend(monkeypatch):
    """Dynamo without a code generator: the graphs are captured, and nothing needs a compiler of C++."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda f: compile_(f, backend='eager'))


@pytest.mark.parametrize('read', ['stages.1', 'stages.1.0'])
def test_records_and_output_are_the_same_and_the_pass_ends_at_the_last(read, eager_backend):
    net, x = Net().eval(), torch.randn(2, 3, 12, 12)
    fast = copy.deepcopy(net)
    places, found = {(OUTPUTS, read): {0}}, []
    later = []
    for network in (net, fast):
        recorder = CallRecorder(network, places, stop=True)
        if network is fast:
            # the stem, stages 0 and 2, and stage 1 as a whole or its two layers
            assert compile_parts(fast, places) == (4 if read == 'stages.1' else 5)
        network.pool.register_forward_hook(lambda *_: later.append(1))
        for _ in range(2):
            with torch.no_grad(), recorder as records:
                network(x)
        found.append(records.read((OUTPUTS, read)))
    torch.testing.assert_close(*found)
    assert not later
    with torch.no_grad():
        torch.testing.assert_close(net(x), fast(x))


def test_a_part_that_cannot_be_compiled_runs_as_it_is(monkeypatch):
    def compile_(forward):
        def fails(*args):
            raise RuntimeError('no compiler')

        return fails

    monkeypatch.setattr(torch, 'compile', compile_)
    net, x = Net().eval(), torch.randn(2, 3, 12, 12)
    expected, said = net(x), []
    monkeypatch.setattr('kd_methods.networks.compiling.print_log', lambda text, *_: said.append(text))
    assert compile_parts(net) == 4
    for _ in range(2):
        assert net(x).equal(expected)
    assert len(said) == 4 and 'stem cannot be compiled here' in said[0] and 'no compiler' in said[0]


def test_a_fault_of_the_network_itself_is_raised(monkeypatch):
    net = Net().eval()
    monkeypatch.setattr(torch, 'compile', lambda forward: forward)
    compile_parts(net)
    with pytest.raises(RuntimeError, match='3 channels|4, 3, 3, 3'):
        net(torch.randn(1, 5, 12, 12))
