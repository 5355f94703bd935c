"""The whole step as a GPU would run it: no wait for the device, no mix of devices.

Both networks and the losses of each segmentation method at its defaults; mmseg's own accuracy figure, which
asks for the places of labelled pixels, is what LoggedAccuracyHook takes out of most steps.
"""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads import decode_head
from mmseg.structures import SegDataSample
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

METHODS = {
    'I2CKD': dict(type='I2CKDDistiller', logit_kd=1.0),
    'C2VKD': dict(type='C2VKDDistiller'),
    'LIX': dict(type='LIXDistiller'),
    'BCD': dict(type='BCDDistiller'),
    'feature KD': dict(type='FeatureKDDistiller'),
    'logit KD': dict(type='LogitKDDistiller'),
    'all with schedules': dict(
        type='ComposedDistiller',
        distillers=dict(
            bcd=dict(type='BCDDistiller', boundary=dict(schedule=dict(warmup=5))),
            lix=dict(type='LIXDistiller', dwld=dict(schedule=dict(end=10))),
        ),
    ),
}


@pytest.fixture(autouse=True)
def without_accuracy(monkeypatch):
    """As in the steps that nobody logs."""
    monkeypatch.setattr(decode_head, 'accuracy', lambda pred, *_, **__: pred.new_full((1,), torch.nan))


def samples(device: str) -> tuple[torch.Tensor, list[SegDataSample]]:
    found = []
    for _ in range(2):
        sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, 64, 64), device=device)))
        sample.set_metainfo(dict(img_shape=(64, 64), ori_shape=(64, 64)))
        found.append(sample)
    return torch.randn(2, 3, 64, 64, device=device), found


def step(model: nn.Module, device: str) -> None:
    """A step whose taught losses are all proven, as each but the first is: forward, backward, optimizer."""
    model.proof.open.clear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = model(*samples(device), mode='loss')
    total = sum(value for name, value in losses.items() if 'loss' in name.split('.')[-1])
    assert total.shape == () and total.device.type == device and any('distill' in name for name in losses)
    total.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.student.parameters())
    optimizer.step()


def to_fake(model: nn.Module, mode: FakeTensorMode) -> None:
    """Parameters and buffers as fake tensors, of the teacher too."""
    for network in (model, model.teacher.model):
        for module in network.modules():
            for name, value in list(module._parameters.items()):
                if value is not None:
                    fake = nn.Parameter(mode.from_tensor(value.detach()), value.requires_grad)
                    module._parameters[name] = fake
            for name, value in list(module._buffers.items()):
                if value is not None:
                    module._buffers[name] = mode.from_tensor(value)


@pytest.mark.parametrize('method', METHODS)
def test_no_step_waits_for_the_device(method, distill):
    model, mode = distill(distiller=METHODS[method]), FakeTensorMode()
    to_fake(model, mode)
    with mode:
        step(model, 'cpu')


@pytest.mark.parametrize('method', METHODS)
def test_the_step_is_on_one_device(method, distill):
    step(distill(distiller=METHODS[method]).to('meta'), 'meta')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('method', METHODS)
def test_no_synchronisation_on_a_gpu(method, distill):
    model = distill(distiller=METHODS[method]).cuda()
    step(model, 'cuda')
    torch.cuda.set_sync_debug_mode('error')
    try:
        step(model, 'cuda')
    finally:
        torch.cuda.set_sync_debug_mode('default')


def test_mmsegs_accuracy_is_what_waits(distill, monkeypatch):
    """And these tests can fail."""
    monkeypatch.undo()
    model, mode = distill(), FakeTensorMode()
    to_fake(model, mode)
    with mode, pytest.raises(DynamicOutputShapeException):
        step(model, 'cpu')
