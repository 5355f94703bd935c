"""Feature KD: the formula, what is left out, adapters, detectors."""

import copy

import pytest
import torch
import torch.nn.functional as F
from toys import build_distillation, losses_of, tiny_model

from kd_methods.methods.feature_kd import FeatureKDLoss, feature_kd

N, C, H, W = 2, 5, 6, 8


@pytest.fixture
def maps():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(N, C, H, W, generator=g, dtype=torch.float64) for _ in range(2))
    return x.requires_grad_(), y.requires_grad_()


def test_twice_one_minus_the_cosine(maps):
    expected = 2 * (1 - F.cosine_similarity(*maps, dim=1)).mean()
    torch.testing.assert_close(feature_kd(*maps), expected)


def test_scale_does_not_matter_and_the_teacher_gets_no_gradient(maps):
    x, y = maps
    torch.testing.assert_close(feature_kd(3 * x, 0.1 * y), feature_kd(x, y))
    feature_kd(x, y).backward()
    assert x.grad.abs().sum() > 0 and y.grad is None
    assert torch.autograd.gradcheck(lambda x: feature_kd(x, y), x.detach().requires_grad_())


def test_ignored_places_have_no_influence(maps):
    label = torch.zeros(N, 2 * H, 2 * W, dtype=torch.long)
    label[:, : 2 * (H // 2)] = 255
    x, y = (m.detach().clone() for m in maps)
    expected = feature_kd(x[:, :, H // 2 :], y[:, :, H // 2 :])
    x[:, :, : H // 2] = float('nan')
    torch.testing.assert_close(feature_kd(x, y, label), expected)
    assert feature_kd(x, y, torch.full_like(label, 255)) == 0


def test_shapes_must_agree(maps):
    with pytest.raises(ValueError, match=r'of one shape. Got: \(2, 5, 6, 8\), \(2, 4, 6, 8\)'):
        feature_kd(maps[0], maps[1][:, :4])


def test_half_precision_is_reduced_in_float32(maps):
    x, y = (m.detach().to(torch.bfloat16) for m in maps)
    with torch.autocast('cpu', torch.bfloat16):
        assert feature_kd(x, y).dtype == torch.float32


def test_the_adapter_is_trained_with_the_student():
    loss = FeatureKDLoss(4, 8)
    loss(torch.randn(2, 4, 6, 6), torch.randn(2, 8, 6, 6)).backward()
    assert loss.adapter.weight.grad.abs().sum() > 0


def test_channels_and_grids_are_found(batch):
    teacher = copy.deepcopy(tiny_model(8))
    teacher['backbone'].update(strides=(1, 1, 1, 1))  # logits and features twice as large
    model = build_distillation(tiny_model(4), dict(type='FeatureKDDistiller'), teacher)
    (loss,) = model.distiller.distill_losses.values()
    channels = (model.architecture.decode_head.channels, model.teacher.model.decode_head.channels)
    assert (loss.adapter.in_channels, loss.adapter.out_channels) == channels and channels[0] != channels[1]
    losses = losses_of(model, batch)
    assert 0 < losses['distill.loss_feature'] < 4


def test_wrong_channels_are_told():
    with pytest.raises(
        ValueError, match='distiller.student_channels=3, but tap .feature. of the student has'
    ):
        build_distillation(tiny_model(4), dict(type='FeatureKDDistiller', student_channels=3))
