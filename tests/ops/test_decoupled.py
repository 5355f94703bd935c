"""Losses split at the label, against the plain formula under autograd."""

import math

import pytest
import torch
import torch.nn.functional as F

from kd_methods.ops import decoupled
from kd_methods.ops.decoupled import Term, decoupled_loss


def inputs(classes=5, size=(6, 8), label=(12, 20), teacher=None, seed=0, n=3):
    """Logits of both networks and a label with ignored pixels."""
    g = torch.Generator().manual_seed(seed)
    S = 2 * torch.randn(n, classes, *size, generator=g, dtype=torch.float64)
    T = 2 * torch.randn(n, classes, *(teacher or size), generator=g, dtype=torch.float64)
    y = torch.randint(0, max(classes, 2), (n, *label), generator=g)
    y[0, :2] = 255
    y[1, 3] = -1
    return S.requires_grad_(), T, y


def terms(u_S, u_T, others):
    """An arbitrary function of all three, with its gradient: sin(u_S) + u_T + 3 others."""
    extra = () if others is None else (others,)
    value = u_S.sin() + u_T + (3 * others if others is not None else 0)
    return Term(value, u_S.cos(), 3.0, (u_T, *extra))


def plain(S, T, label, tau=1.0, resolution='label', kappa=None):
    """The formula pixel by pixel, in autograd's hands."""
    size = label.shape[1:] if resolution == 'label' else S.shape[2:]
    index = [torch.arange(new) * old // new for old, new in zip(label.shape[1:], size)]
    label = label[:, index[0]][:, :, index[1]]
    S, T = (
        F.interpolate(x / tau, size=size, mode='bilinear') if x.shape[2:] != size else x / tau for x in (S, T)
    )
    if S.shape[1] == 1:
        S, T = (torch.cat([torch.zeros_like(x), x], 1) for x in (S, T))
    classes, found = S.shape[1], []
    for n, i, j in torch.cartesian_prod(*map(torch.arange, label.shape)).tolist():
        y = int(label[n, i, j])
        if not 0 <= y < classes:
            continue
        rest = [k for k in range(classes) if k != y]
        u_S, u_T = (z[n, y, i, j] - z[n, rest, i, j].logsumexp(0) for z in (S, T))
        value = u_S.sin() + u_T
        if kappa is not None:
            q_S, q_T = (z[n, rest, i, j].softmax(0) for z in (S, T))
            gap = (q_T - q_S).detach().abs()
            weight = (1 + kappa * gap / gap.mean()) / (1 + kappa) if gap.mean() > 0 else torch.ones_like(gap)
            value = value + 3 * (weight * (q_T * (q_T / q_S).log() - q_T + q_S)).sum()
        found.append(value)
    return tau**2 * torch.stack(found).mean()


CASES = {
    'label': dict(),
    'logits': dict(resolution='logits'),
    'tau': dict(tau=2.5),
    'others': dict(kappa=0.0),
    'weighted': dict(kappa=2.0, tau=0.5),
}


@pytest.mark.parametrize('most', [1, 150, 10**6], ids=['rows', 'images', 'whole'])
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('shapes', ['up', 'same', 'two_grids'])
def test_value_and_gradient(case, shapes, most, monkeypatch):
    """Those of the formula, however the pixels are split into blocks."""
    monkeypatch.setitem(decoupled.BLOCK, 'cpu', most)
    sizes = dict(up={}, same=dict(label=(6, 8)), two_grids=dict(teacher=(4, 5)))[shapes]
    S, T, label = inputs(size=(6, 8), **sizes, classes=4, n=2)
    got, *_ = decoupled_loss(terms, S, T, label, **CASES[case])
    expected = plain(S, T, label, **CASES[case])
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        *(torch.autograd.grad(v, S)[0] for v in (got, expected)), rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize('classes', [1, 2])
def test_few_classes(classes):
    """A single channel is the logit of a sigmoid; of two classes the other one is certain."""
    S, T, label = inputs(classes, label=(6, 8), n=2)
    got, _, others = decoupled_loss(terms, S, T, label, kappa=1.0)
    expected = plain(S, T, label, kappa=1.0)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(*(torch.autograd.grad(v, S)[0] for v in (got, expected)))
    assert others == 0


def test_maps_beyond_dense_weights(monkeypatch):
    """Large logits are resized by F.interpolate, forward and back."""
    monkeypatch.setattr('kd_methods.ops.grids.DENSE', 4)
    S, T, label = inputs(3, n=2)
    got, _ = decoupled_loss(terms, S, T, label)
    expected = plain(S, T, label)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(v, S)[0] for v in (got, expected)), rtol=1e-6, atol=1e-12
    )


def test_stats_are_means_over_valid_pixels():
    S, T, label = inputs(label=(6, 8))
    _, mean = decoupled_loss(terms, S, T, label)
    log_p = T.log_softmax(1)
    valid = (label >= 0) & (label < 5)
    own = log_p.gather(1, label.clamp(0, 4).unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(mean, (own - (-own.expm1()).log())[valid].mean())
    assert not mean.requires_grad


def test_teacher_errors():
    """Pixels at which argmax of the teacher is another class do not count; of equal ones it is the first."""
    S, T, label = inputs(label=(6, 8))
    T[0, :, 0] = 1.0  # all equal: argmax says class 0
    got = decoupled_loss(terms, S, T, label, teacher_errors='mask')[0]
    masked = label.masked_fill(T.argmax(1) != label, 255)
    torch.testing.assert_close(got, decoupled_loss(terms, S, T, masked)[0])
    assert not torch.isclose(got, decoupled_loss(terms, S, T, label)[0])


@pytest.mark.parametrize('kappa', [None, 0.0, 1.0])
def test_ignored_pixels_have_no_influence_even_if_they_are_nan(kappa):
    S, T, label = inputs(label=(6, 8))
    expected = decoupled_loss(terms, S, T, label, kappa=kappa)
    (slope,) = torch.autograd.grad(expected[0], S)
    ignored = ((label < 0) | (label >= 5)).unsqueeze(1)
    for bad in (torch.nan, torch.inf):
        spoilt = [x.detach().masked_fill(ignored, bad) for x in (S, T)]
        spoilt[0].requires_grad_()
        got = decoupled_loss(terms, *spoilt, label, kappa=kappa)
        torch.testing.assert_close(got, expected)
        (gradient,) = torch.autograd.grad(got[0], spoilt[0])
        assert gradient.equal(slope) and gradient.masked_select(ignored).eq(0).all()


def test_no_pixel_counts():
    S, T, label = inputs(label=(6, 8))
    loss, _ = decoupled_loss(terms, S, T, torch.full_like(label, 255))
    (gradient,) = torch.autograd.grad(loss, S)
    assert loss == 0 and gradient.eq(0).all()


def test_a_class_that_is_all_but_certain():
    """u stays exact where 1 - p_y is 0 in float32."""
    S = torch.tensor([30.0, 0.0, -1.0]).view(1, 3, 1, 1)
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    loss, _ = decoupled_loss(lambda u_S, u_T, _: Term(u_S, torch.ones_like(u_S), 0.0, (u_T,)), S, S, label)
    assert loss.item() == pytest.approx(30 - math.log(1 + math.exp(-1)))


def test_inputs_stay_as_they_are():
    S, T, label = inputs(label=(6, 8))
    before = [x.detach().clone() for x in (S, T, label)]
    decoupled_loss(terms, S, T, label, kappa=1.0)
    assert all(x.equal(y) for x, y in zip((S, T, label), before))


def test_keeps_the_gradient_in_the_size_of_the_logits():
    """What is kept for the backward pass does not grow with the label."""
    S, T, label = inputs(label=(96, 160))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        decoupled_loss(terms, S, T, label, kappa=1.0)
    assert kept == [S.numel()]
