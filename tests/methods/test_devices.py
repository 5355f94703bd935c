"""Losses as a GPU would run them: no wait for the device, no mix of devices, whatever the options."""

import inspect
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from kd_methods.methods import feature_kd, logit_kd
from kd_methods.methods.bcd import BoundaryDistillLoss, ContextDistillLoss
from kd_methods.methods.c2vkd import PDDLoss, VLFDLoss
from kd_methods.methods.dmkd import DMKDLoss
from kd_methods.methods.i2ckd import I2CKDLoss
from kd_methods.methods.lix import ARFDLoss, DWLDLoss

N, K = 2, 5
CHANNELS = dict(student_channels=4, teacher_channels=6)
#: Of each loss: what it is built with, and what its forward takes.
LOSSES = {
    I2CKDLoss: (dict(num_classes=K, **CHANNELS), ('feats', 'label')),
    VLFDLoss: (CHANNELS, ('feats',)),
    PDDLoss: (dict(), ('logits', 'label')),
    DWLDLoss: (dict(), ('logits', 'label')),
    ARFDLoss: (dict(), ('feats',)),
    BoundaryDistillLoss: (dict(), ('levels', 'label')),
    ContextDistillLoss: (dict(), ('feats', 'label')),
    DMKDLoss: (CHANNELS, ('feats', 'padding')),
    logit_kd.LogitKDLoss: (dict(), ('logits', 'label')),
    feature_kd.FeatureKDLoss: (CHANNELS, ('feats', 'label')),
}
#: Options whose values are no list of words.
VALUES: dict[str, list[Any]] = dict(
    nckd_weight=[1.0],
    pair_weight=[0.5],
    tokens=[None, 4],
    max_tokens=[16],
    confidence=[0.5],
    ignore_index=[None],
    kappa=[0.0],
    tau=[2.0],
    pool=['gap', None],  # the attention pool needs a file
)


def variants(cls: type) -> list[dict]:
    """The defaults, and each option with each of its other values."""
    found: list[dict] = [{}]
    for name, parameter in inspect.signature(cls).parameters.items():
        kind = parameter.annotation
        words = list(get_args(kind)) if get_origin(kind) is Literal else []
        words = VALUES.get(name, words or ([True, False] if kind is bool else []))
        found += [{name: word} for word in words if word != parameter.default]
    return found


CASES = [
    pytest.param(cls, options, id=f'{cls.__name__}-{options}') for cls in LOSSES for options in variants(cls)
]


def arguments(cls: type, device: str) -> dict[str, Any]:
    """What the forward of a loss takes, on a device."""
    kinds, found = LOSSES[cls][1], {}

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device)

    if 'feats' in kinds:
        found.update(feat_S=randn(N, 4, 6, 6).requires_grad_(), feat_T=randn(N, 6, 6, 6))
    if 'levels' in kinds:
        for i, size in enumerate((8, 4)):
            found[f'feat_S_{i}'] = randn(N, 4, size, size).requires_grad_()
            found[f'feat_T_{i}'] = randn(N, 6, size, size)
    if 'logits' in kinds:
        found.update(logits_S=randn(N, K, 6, 6).requires_grad_(), logits_T=randn(N, K, 6, 6))
    if 'label' in kinds:
        found['label'] = torch.randint(0, K, (N, 24, 24), device=device)
    if 'padding' in kinds:
        found.update(img_shape=[(24, 20), (18, 24)], inputs=randn(N, 3, 24, 24))
    return found


def run(cls: type, options: dict, device: str) -> None:
    """Forward and backward."""
    loss = cls(**{**LOSSES[cls][0], **options})
    loss = loss if device == 'cpu' else loss.to(device)
    given = arguments(cls, device)
    value = loss(**given)
    assert value.shape == () and value.device.type == torch.device(device).type
    value.backward()
    for tensor in (x for x in given.values() if isinstance(x, torch.Tensor) and x.requires_grad):
        assert tensor.grad.shape == tensor.shape and tensor.grad.device.type == tensor.device.type


@pytest.mark.parametrize(('cls', 'options'), CASES)
def test_nothing_waits_for_the_device(cls, options):
    """Under fake tensors an operation whose shape or value depends on data raises: `nonzero`, `item`."""
    with FakeTensorMode():
        run(cls, options, 'cpu')


@pytest.mark.parametrize(('cls', 'options'), CASES)
def test_on_one_device(cls, options):
    """On the meta device a tensor of another device raises."""
    run(cls, options, 'meta')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize(('cls', 'options'), CASES)
def test_no_synchronisation_on_a_gpu(cls, options):
    """CUDA's own watch: anything that waits for the device is an error."""
    run(cls, options, 'cuda')
    loss = cls(**{**LOSSES[cls][0], **options}).cuda()
    given = arguments(cls, 'cuda')
    torch.cuda.set_sync_debug_mode('error')
    try:
        loss(**given).backward()
    finally:
        torch.cuda.set_sync_debug_mode('default')


def test_the_watch_sees_a_wait():
    """These tests can fail."""
    for wait, error in (
        (torch.Tensor.nonzero, DynamicOutputShapeException),
        (float, DataDependentOutputException),
    ):
        with FakeTensorMode(), pytest.raises(error):
            wait(torch.zeros(1))
