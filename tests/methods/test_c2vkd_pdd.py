import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from toys import logit_scene

from kd_methods.methods.c2vkd import PDDLoss, pdd_loss

K = 5


def loss_of(*args, **options):
    return pdd_loss(*args, **options)[0]


def brute_force(S, T, label, alpha=0.5, beta=0.5, direction='forward', tau=1.0, nckd_weight=0.0):
    """The definition, with a loop over pixels."""
    S, T = S / tau, T / tau
    values = []
    for n, y, x in (label >= 0).logical_and(label < S.shape[1]).nonzero().tolist():
        k = int(label[n, y, x])
        p_S, p_T = S[n, :, y, x].softmax(0), T[n, :, y, x].softmax(0)
        s, t = p_S[k], p_T[k]
        q1, q2 = (1 + t) / 2, (1 - t) / 2
        if direction == 'forward':
            value = alpha * q1 * (q1 / s).log() + beta * q2 * (q2 / (1 - s)).log()
        else:
            value = alpha * s * (s / q1).log() + beta * (1 - s) * ((1 - s) / q2).log()
        others = [j for j in range(S.shape[1]) if j != k]
        hat_S, hat_T = p_S[others] / (1 - s), p_T[others] / (1 - t)
        values.append(value + nckd_weight * (hat_T * (hat_T / hat_S).log()).sum())
    return tau**2 * torch.stack(values).mean()


def pixel(*logits, dtype=torch.float64):
    """Logits of one pixel, 1 x K x 1 x 1."""
    return torch.tensor(logits, dtype=dtype).view(1, -1, 1, 1)


LABEL_0 = torch.zeros(1, 1, 1, dtype=torch.long)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(alpha=1.0, beta=0.3),
        dict(direction='reverse'),
        dict(direction='reverse', alpha=0.2, beta=2.0),
        dict(tau=3.0),
        dict(nckd_weight=0.7),
        dict(nckd_weight=0.7, tau=2.0, direction='reverse'),
    ],
    ids=str,
)
def test_equals_brute_force_in_value_and_gradient(options):
    S, T, label = logit_scene()
    got, expected = loss_of(S, T, label, **options), brute_force(S, T, label, **options)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, S), torch.autograd.grad(expected, S))


@pytest.mark.parametrize(
    'options',
    [dict(), dict(direction='reverse', nckd_weight=0.5), dict(resolution='logits', tau=2.0)],
    ids=str,
)
def test_gradcheck(options):
    S, T, label = logit_scene(n=1, size=3)
    torch.autograd.gradcheck(lambda x: loss_of(x, T, label, **options), S)


def test_forward_is_cross_entropies_less_the_entropy_of_the_target():
    S, T, label = logit_scene(ignored=0)
    s, t = (x.softmax(1).gather(1, label.unsqueeze(1)) for x in (S, T))
    q = torch.cat([(1 + t) / 2, (1 - t) / 2])
    entropy = -(q * q.log()).sum() / t.numel()
    expected = F.cross_entropy(S, label) / 4 + F.binary_cross_entropy(s, t) / 4 - entropy / 2
    torch.testing.assert_close(loss_of(S, T, label), expected)


def test_gradient_by_the_labels_logit():
    S, T, label = logit_scene(ignored=0)
    s, t = (x.softmax(1).gather(1, label.unsqueeze(1)) for x in (S, T))
    (grad,) = torch.autograd.grad(loss_of(S, T, label), S)
    torch.testing.assert_close(grad.gather(1, label.unsqueeze(1)) * label.numel(), (s - (1 + t) / 2) / 2)
    # On the other logits it is in proportion to their probabilities.
    others = F.one_hot(label, K) == 0
    ratios = (grad / S.softmax(1)).movedim(1, -1)[others].view(-1, K - 1)
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))


@pytest.mark.parametrize('direction', ['forward', 'reverse'])
def test_zero_if_and_only_if_the_student_meets_the_mixed_target(direction):
    T = pixel(0.3, -0.2, 0.9)
    t = float(T.softmax(1)[0, 0])
    q1 = (1 + t) / 2
    S = pixel(math.log(q1 / (1 - q1)), math.log(0.5), math.log(0.5)).requires_grad_()
    loss = loss_of(S, T, LABEL_0, direction=direction)
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-12)
    (grad,) = torch.autograd.grad(loss, S)
    torch.testing.assert_close(grad, torch.zeros_like(grad), rtol=0, atol=1e-12)
    for shift in (-1.0, -1e-3, 1e-3, 1.0):
        moved = S.detach() + pixel(shift, 0, 0)
        assert loss_of(moved, T, LABEL_0, direction=direction) > 1e-9


def test_a_certain_teacher_leaves_half_the_cross_entropy():
    S, _, label = logit_scene(ignored=0)
    T = 1e3 * F.one_hot(label, K).movedim(-1, 1).double()
    torch.testing.assert_close(loss_of(S, T, label), F.cross_entropy(S, label) / 2)


def test_gradient_where_the_student_is_badly_wrong():
    # The reason for the default: reverse lets go of just the pixels that are wrong.
    T = pixel(3.0, 0.0, 0.0)
    size = {}
    for direction in ('forward', 'reverse'):
        S = pixel(-20.0, 0.0, 0.0).requires_grad_()
        (grad,) = torch.autograd.grad(loss_of(S, T, LABEL_0, direction=direction), S)
        size[direction] = grad.abs().max()
    assert size['forward'] > 0.4 and size['reverse'] < 1e-6


@pytest.mark.parametrize('resolution', ['label', 'logits'])
def test_ignored_pixels_have_neither_value_nor_gradient(resolution):
    S, T, label = logit_scene()
    ignored = (label < 0) | (label >= K)
    assert ignored.any()
    bad = S.detach().masked_fill(ignored.unsqueeze(1), float('nan')).requires_grad_()
    options = dict(resolution=resolution, nckd_weight=1.0)
    loss = loss_of(bad, T.masked_fill(ignored.unsqueeze(1), float('inf')), label, **options)
    torch.testing.assert_close(loss, loss_of(S, T, label, **options))
    (grad,) = torch.autograd.grad(loss, bad)
    assert grad.movedim(1, -1)[ignored].eq(0).all() and grad.isfinite().all()


def test_a_class_can_be_ignored():
    S, T, label = logit_scene()
    assert loss_of(S, T, label, ignore_index=2).equal(loss_of(S, T, label.masked_fill(label == 2, 255)))


@pytest.mark.parametrize('fill', [255, -1, K])
@pytest.mark.parametrize('options', [dict(), dict(direction='reverse', nckd_weight=1.0)], ids=str)
def test_nothing_valid_is_an_exact_zero_in_the_graph(fill, options):
    S, T, label = logit_scene()
    loss, stats = pdd_loss(S, T, torch.full_like(label, fill), **options)
    assert loss == 0 and torch.autograd.grad(loss, S)[0].eq(0).all()
    assert stats['s'] == stats['t'] == 0


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('classes', [1, K])
def test_extreme_logits_stay_finite(dtype, classes):
    S, T, label = logit_scene(classes=classes)
    for sign in (1, -1):
        extreme = (1e3 * S.detach().sign()).to(dtype).requires_grad_()
        loss = loss_of(extreme, (sign * 1e3 * T.sign()).to(dtype), label, nckd_weight=1.0)
        assert loss.isfinite() and loss.dtype == torch.float32
        assert torch.autograd.grad(loss, extreme)[0].isfinite().all()


def test_reverse_has_its_floor():
    # t = 1: q2 = 0 would be log(0). With the floor: (1 - s) log((1 - s) / 1e-6) / 2 + s log(s) / 2.
    S, T = pixel(0.0, 0.0), pixel(1e3, 0.0)
    expected = 0.25 * math.log(0.5 / 1e-6) + 0.25 * math.log(0.5)
    assert float(loss_of(S, T, LABEL_0, direction='reverse')) == pytest.approx(expected)


def test_no_gradient_reaches_the_teacher():
    S, T, label = logit_scene()
    T.requires_grad_()
    loss_of(S, T, label, nckd_weight=1.0).backward()
    assert T.grad is None and S.grad.ne(0).any()


def test_logits_are_brought_to_the_label_or_labels_to_the_logits():
    S, T, label = logit_scene(size=12)
    S, T = S.detach()[..., ::2, ::2], T[..., ::3, ::3]
    up = [F.interpolate(x, size=(12, 12), mode='bilinear', align_corners=False) for x in (S, T)]
    torch.testing.assert_close(loss_of(S, T, label.unsqueeze(1)), brute_force(*up, label))
    T_on_S = F.interpolate(T, size=(6, 6), mode='bilinear', align_corners=False)
    got, expected = loss_of(S, T, label, resolution='logits'), brute_force(S, T_on_S, label[:, ::2, ::2])
    torch.testing.assert_close(got, expected)


def test_one_channel_is_a_sigmoid():
    S, T, label = logit_scene(classes=1)
    two_S, two_T = (torch.cat([torch.zeros_like(x), x], 1) for x in (S, T))
    torch.testing.assert_close(loss_of(S, T, label), brute_force(two_S, two_T, label))
    assert loss_of(S, T, label) > 0


def test_order_of_classes_images_and_pixels_does_not_matter():
    S, T, label = logit_scene()
    loss, order = loss_of(S, T, label), torch.tensor([3, 0, 4, 1, 2])
    renamed = order.argsort()[label.clamp(0, K - 1)].where((label >= 0) & (label < K), label)
    torch.testing.assert_close(loss_of(S[:, order], T[:, order], renamed), loss)
    torch.testing.assert_close(loss_of(S.flip(0), T.flip(0), label.flip(0)), loss)
    torch.testing.assert_close(loss_of(S.flip(2), T.flip(2), label.flip(1)), loss)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason='autocast on a CPU leaves all of its operations alone'
)
def test_autocast_does_not_lower_the_precision():
    S, T, label = (x.cuda() for x in logit_scene(dtype=torch.float32))
    expected = loss_of(S, T, label)
    with torch.autocast('cuda', torch.float16):
        assert loss_of(S, T, label).equal(expected)


def test_module_is_the_function():
    S, T, label = logit_scene(dtype=torch.float32)
    options = dict(direction='reverse', alpha=0.3, beta=0.6, tau=2.0, nckd_weight=0.1, resolution='logits')
    options['ignore_index'] = 1
    module = MODELS.build(dict(type='PDDLoss', loss_weight=3.0, **options))
    loss, stats = pdd_loss(S, T, label, **options)
    assert module(S, T, label).equal(3 * loss) and module.stats == stats
    assert not any(value.requires_grad for value in stats.values())


def test_statistics_are_the_mean_probabilities_of_the_label():
    S, T, label = logit_scene(ignored=0)
    stats = pdd_loss(S, T, label)[1]
    for name, x in (('s', S), ('t', T)):
        torch.testing.assert_close(stats[name], x.detach().softmax(1).gather(1, label.unsqueeze(1)).mean())


def test_wrong_options_are_named():
    for call in (PDDLoss, lambda **options: loss_of(*logit_scene(), **options)):
        with pytest.raises(ValueError, match="direction='back' is not known. Possible: 'forward', 'reverse'"):
            call(direction='back')
        with pytest.raises(ValueError, match='tau must be a number above 0. Got: nan'):
            call(tau=math.nan)
        with pytest.raises(ValueError, match="beta must be a number of 0 or more. Got: '0.5'"):
            call(beta='0.5')


def test_without_any_part_it_never_runs():
    assert PDDLoss(alpha=0, beta=0, loss_weight=2.0).loss_weight == 0
    assert PDDLoss(alpha=0, beta=0, nckd_weight=1.0, loss_weight=2.0).loss_weight == 2


def test_wrong_shapes_are_named():
    S, T, label = logit_scene()
    with pytest.raises(ValueError, match='logits_S has 5 classes, logits_T has 4'):
        loss_of(S, T[:, :4], label)
    with pytest.raises(ValueError, match='logits_S must be a floating-point map'):
        loss_of(S[0], T, label)
    with pytest.raises(ValueError, match='same batch size'):
        loss_of(S, T, label[:1])
    with pytest.raises(TypeError, match='integers'):
        loss_of(S, T, label.float())
