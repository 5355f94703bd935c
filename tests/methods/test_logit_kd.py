import copy

import pytest
import torch
import torch.nn.functional as F
from toys import build_distillation, losses_of, tiny_model, tiny_segformer

from kd_methods.methods.logit_kd import LogitKDLoss, logit_kd

N, K, H, W = 2, 5, 6, 8


def pair(dtype=torch.float32, classes=K):
    g = torch.Generator().manual_seed(0)
    z_S, z_T = (torch.randn(N, classes, H, W, generator=g, dtype=dtype) * 3 for _ in range(2))
    return z_S.requires_grad_(), z_T


def label_map(ignored=True):
    label = torch.randint(0, K, (N, 2 * H, 2 * W), generator=torch.Generator().manual_seed(1))
    if ignored:
        label[0, :4] = 255
    return label


def brute(z_S, z_T, label, tau):
    """Pixel by pixel."""
    values = []
    for n in range(N):
        for y in range(H):
            for x in range(W):
                if label is None or label[n, 2 * y, 2 * x] != 255:
                    p, q = (torch.softmax(z[n, :, y, x] / tau, 0) for z in (z_T, z_S))
                    values.append((p * (p / q).log()).sum())
    return tau**2 * torch.stack(values).mean()


@pytest.mark.parametrize('tau', [1.0, 4.0])
@pytest.mark.parametrize('labelled', [True, False])
def test_value_is_that_of_the_formula(tau, labelled):
    z_S, z_T = pair(torch.float64)
    label = label_map() if labelled else None
    torch.testing.assert_close(logit_kd(z_S, z_T, label, tau), brute(z_S, z_T, label, tau))


def test_sigmoids_are_compared_class_by_class():
    z_S, z_T = pair(torch.float64)
    p, q = z_T.sigmoid(), z_S.sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1).mean()
    torch.testing.assert_close(logit_kd(z_S, z_T, sigmoid=True), expected)


def test_a_single_channel_is_a_sigmoid_and_equals_two_classes():
    z_S, z_T = pair(torch.float64, 1)
    both = (torch.cat([torch.zeros_like(z), z], 1) for z in (z_S, z_T))
    one = logit_kd(z_S, z_T)
    torch.testing.assert_close(one, logit_kd(*both))
    assert one > 0


def test_0_for_one_network_and_gradient_to_the_student_alone():
    z_S, z_T = pair()
    assert logit_kd(z_S, z_S.detach()).abs() < 1e-6
    z_T.requires_grad_()
    logit_kd(z_S, z_T, label_map()).backward()
    assert z_S.grad.abs().sum() > 0 and z_T.grad is None
    assert z_S.grad[0, :, :2].abs().sum() == 0, 'ignored pixels'


def test_ignored_pixels_have_no_influence_even_if_nan():
    z_S, z_T = pair()
    expected = logit_kd(z_S, z_T, label_map())
    spoilt = z_T.clone()
    spoilt[0, :, :2] = float('nan')
    torch.testing.assert_close(logit_kd(z_S, spoilt, label_map()), expected)


def test_a_batch_of_ignored_pixels_alone_is_0():
    z_S, z_T = pair()
    loss = logit_kd(z_S, z_T, torch.full((N, H, W), 255))
    loss.backward()
    assert loss == 0 and z_S.grad.abs().sum() == 0


@pytest.mark.parametrize('sigmoid', [True, False])
def test_gradient(sigmoid):
    z_S, z_T = pair(torch.float64)
    label = label_map()
    assert torch.autograd.gradcheck(lambda z: logit_kd(z, z_T, label, 2.0, sigmoid), (z_S,))


def test_precision_order_and_module():
    z_S, z_T = pair()
    expected = logit_kd(z_S, z_T, label_map(), 2.0)
    half = logit_kd(z_S.bfloat16().float(), z_T.bfloat16().float(), label_map(), 2.0)
    torch.testing.assert_close(logit_kd(z_S.bfloat16(), z_T.bfloat16(), label_map(), 2.0), half)
    order = torch.randperm(K)
    torch.testing.assert_close(logit_kd(z_S[:, order], z_T[:, order], label_map(), 2.0), expected)
    torch.testing.assert_close(LogitKDLoss(tau=2.0, loss_weight=3.0)(z_S, z_T, label_map()), 3 * expected)


def test_mistakes_are_named():
    z_S, z_T = pair()
    with pytest.raises(ValueError, match='logits_S and logits_T must be N x K x H x W, of one shape'):
        logit_kd(z_S, z_T[:, :3])
    with pytest.raises(ValueError, match='logit_kd: tau must be a number above 0. Got: 0'):
        logit_kd(z_S, z_T, tau=0)
    with pytest.raises(ValueError, match="distiller: resize='both' is not known"):
        build_distillation(tiny_model(4), dict(type='LogitKDDistiller', resize='both'))
    with pytest.raises(KeyError, match=r"distiller: LogitKDDistiller takes no \['temperature'\]"):
        build_distillation(tiny_model(4), dict(type='LogitKDDistiller', temperature=2))


def binary(width):
    cfg = tiny_model(width, 'BN')
    for head in (cfg['decode_head'], cfg['auxiliary_head']):
        loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
        head.update(num_classes=2, out_channels=1, threshold=0.3, loss_decode=loss)
    return cfg


@pytest.mark.parametrize('weight', [1.0, 'auto'])
def test_the_distiller_brings_two_sizes_to_one(batch, weight):
    """The student's logits have an eighth of the image's side, the teacher's a quarter."""
    teacher = tiny_model(8, 'BN')
    teacher['backbone'].update(strides=(1, 1, 1, 1))
    model = build_distillation(
        tiny_model(4, 'BN'), dict(type='LogitKDDistiller', loss_weight=weight), teacher
    )
    model.architecture.decode_head.dropout.p = 0.0
    loss = losses_of(model, batch)['distill.loss_kd']
    if weight == 'auto':
        assert loss > 0
        return
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    model.student.train()
    with torch.no_grad():
        networks = (model.student, model.teacher.model)
        z_S, z_T = (net.decode_head(net.extract_feat(data['inputs'])) for net in networks)
    z_S = F.interpolate(z_S, z_T.shape[2:], mode='bilinear', align_corners=False)
    label = torch.stack([s.gt_sem_seg.data for s in data['data_samples']])
    torch.testing.assert_close(loss, logit_kd(z_S, z_T, label))


def test_sigmoid_heads_and_transformers(batch):
    model = build_distillation(binary(4), dict(type='LogitKDDistiller'), binary(8))
    assert model.distiller.distill_losses['loss_kd'].options['sigmoid']
    data = copy.deepcopy(batch)
    for sample in data['data_samples']:
        label = sample.gt_sem_seg.data
        sample.gt_sem_seg.data = torch.where(label == 255, label, label % 2)
    assert losses_of(model, data)['distill.loss_kd'] > 0
    model = build_distillation(tiny_segformer(), dict(type='LogitKDDistiller'), tiny_model(8, 'BN'))
    assert losses_of(model, batch)['distill.loss_kd'] > 0


def test_hard_targets_are_pseudo_labels():
    z_S, z_T = pair(torch.float64)
    expected = F.cross_entropy(z_S, z_T.argmax(1))
    torch.testing.assert_close(logit_kd(z_S, z_T, hard=True), expected)
    z_S, z_T = pair(torch.float64, 1)
    expected = F.binary_cross_entropy_with_logits(z_S, (z_T > 0).double())
    torch.testing.assert_close(logit_kd(z_S, z_T, hard=True), expected)


@pytest.mark.parametrize('hard', [True, False])
def test_pixels_of_which_the_teacher_is_not_sure_do_not_count(hard):
    z_S, z_T = pair(torch.float64)
    sure = z_T.softmax(1).amax(1) >= 0.8
    assert 0 < sure.sum() < sure.numel()
    label = torch.where(sure, 0, 255).repeat_interleave(2, 1).repeat_interleave(2, 2)
    expected = logit_kd(z_S, z_T, label, hard=hard)
    torch.testing.assert_close(logit_kd(z_S, z_T, hard=hard, confidence=0.8), expected)
    both = label_map()
    kept = torch.where(both == 255, 255, label)
    torch.testing.assert_close(
        logit_kd(z_S, z_T, both, hard=hard, confidence=0.8), logit_kd(z_S, z_T, kept, hard=hard)
    )
