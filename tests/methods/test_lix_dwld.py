import pytest
import torch
import torch.nn.functional as F
from dispatch import Count
from mmengine.registry import MODELS
from toys import logit_scene

from kd_methods.methods.lix import DWLDLoss, dwld_loss

K = 5
CONTROLLERS = ('kd', 'dkd', 'pixel', 'logit')


def loss_of(*args, **options):
    return dwld_loss(*args, **options)[0]


def brute_force(
    S, T, label, controller='logit', gamma=2.0, kappa=1.0, alpha=1.0, beta=1.0, tau=1.0, teacher_errors='keep'
):
    """The definition, with a loop over pixels."""
    S, T = S / tau, T / tau
    values = []
    for n, y, x in (label >= 0).logical_and(label < S.shape[1]).nonzero().tolist():
        k = int(label[n, y, x])
        p_S, p_T = S[n, :, y, x].softmax(0), T[n, :, y, x].softmax(0)
        if teacher_errors == 'mask' and p_T.argmax() != k:
            continue
        s, t = p_S[k], p_T[k]
        tcld = t * (t / s).log() + (1 - t) * ((1 - t) / (1 - s)).log()
        others = [j for j in range(S.shape[1]) if j != k]
        q_S, q_T = p_S[others] / (1 - s), p_T[others] / (1 - t)
        w = torch.ones_like(q_T)
        if controller == 'logit' and len(others) > 1:
            gap = (q_T - q_S).detach().abs()
            w = (1 + kappa * gap / gap.mean()) / (1 + kappa)
        ncld = (w * (q_T * (q_T / q_S).log() - q_T + q_S)).sum()
        a, b = dict(kd=(1, 1 - t), dkd=(alpha, beta)).get(controller, (1, (1 - t) + gamma * t))
        values.append(a * tcld + b * ncld)
    return tau**2 * torch.stack(values).mean()


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(controller='pixel', gamma=0.5),
        dict(controller='dkd', alpha=0.7, beta=3.0),
        dict(controller='kd', tau=3.0),
        dict(kappa=4.0, gamma=1.0, tau=2.0),
        dict(teacher_errors='mask'),
    ],
    ids=str,
)
def test_equals_brute_force_in_value_and_gradient(options):
    S, T, label = logit_scene()
    got, expected = loss_of(S, T, label, **options), brute_force(S, T, label, **options)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, S), torch.autograd.grad(expected, S))


@pytest.mark.parametrize('controller', ['kd', 'dkd', 'pixel'])
def test_gradcheck(controller):
    S, T, label = logit_scene(n=1, size=3)
    torch.autograd.gradcheck(lambda x: loss_of(x, T, label, controller=controller, tau=2.0), S)


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_kd_is_the_kl_divergence(tau):
    S, T, label = logit_scene()
    valid = (label >= 0) & (label < K)
    log_S, log_T = ((x / tau).log_softmax(1) for x in (S, T))
    kl = F.kl_div(log_S, log_T, reduction='none', log_target=True).sum(1) * valid
    expected = tau**2 * kl.sum() / valid.sum()
    got = loss_of(S, T, label, controller='kd', tau=tau)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=0)
    single = loss_of(S.float(), T.float(), label, controller='kd', tau=tau)
    torch.testing.assert_close(single.double(), expected, rtol=1e-6, atol=1e-6)


def test_what_the_controllers_have_in_common():
    S, T, label = logit_scene()
    values = {gamma: loss_of(S, T, label, controller='pixel', gamma=gamma) for gamma in (0.0, 1.0, 2.0, 5.0)}
    torch.testing.assert_close(values[0.0], loss_of(S, T, label, controller='kd'))
    torch.testing.assert_close(values[1.0], loss_of(S, T, label, controller='dkd'))
    step = values[1.0] - values[0.0]
    for gamma in (2.0, 5.0):  # linear in gamma
        torch.testing.assert_close(values[gamma], values[0.0] + gamma * step)
    torch.testing.assert_close(loss_of(S, T, label, kappa=0.0), values[2.0])
    assert not torch.isclose(loss_of(S, T, label, kappa=1.0), values[2.0])


@pytest.mark.parametrize('classes', [2, 3])
def test_with_few_classes_logits_have_no_weights(classes):
    S, T, label = logit_scene(classes=classes)
    torch.testing.assert_close(loss_of(S, T, label, kappa=3.0), loss_of(S, T, label, controller='pixel'))
    if classes == 2:  # one other class: nothing is distributed over it
        assert loss_of(S, T, label, controller='dkd', alpha=0) == 0


@pytest.mark.parametrize('controller', CONTROLLERS)
def test_parts_are_positive_and_zero_at_equality(controller):
    S, T, label = logit_scene()
    assert loss_of(S, T, label, controller=controller) > 0
    stats = dwld_loss(S, T, label, controller=controller)[1]
    assert stats['tcld'] > 0 and stats['ncld'] > 0
    shifted = (T + torch.randn(2, 1, 6, 6, dtype=torch.float64)).requires_grad_()  # the same distributions
    loss = loss_of(shifted, T, label, controller=controller)
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(loss, shifted)[0], torch.zeros_like(T), rtol=0, atol=1e-12)


@pytest.mark.parametrize('controller', CONTROLLERS)
def test_shift_of_a_pixel_and_order_of_classes_do_not_matter(controller):
    S, T, label = logit_scene()
    loss = loss_of(S, T, label, controller=controller)
    moved = S + torch.randn(2, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(loss_of(moved, T - 3, label, controller=controller), loss)
    order = torch.tensor([3, 0, 4, 1, 2])
    renamed = order.argsort()[label.clamp(0, K - 1)].where((label >= 0) & (label < K), label)
    torch.testing.assert_close(loss_of(S[:, order], T[:, order], renamed, controller=controller), loss)


def test_the_labels_logit_has_no_part_in_ncld():
    S, T, label = logit_scene(ignored=0)
    only = dict(controller='dkd', alpha=0.0)
    loss = loss_of(S, T, label, **only)
    (grad,) = torch.autograd.grad(loss, S)
    assert grad.gather(1, label.unsqueeze(1)).eq(0).all() and grad.ne(0).any()
    moved = S.detach().scatter_add(1, label.unsqueeze(1), torch.full((2, 1, 6, 6), 2.5, dtype=torch.float64))
    torch.testing.assert_close(loss_of(moved, T, label, **only), loss.detach())


@pytest.mark.parametrize('controller', CONTROLLERS)
@pytest.mark.parametrize('resolution', ['label', 'logits'])
def test_ignored_pixels_have_neither_value_nor_gradient(controller, resolution):
    S, T, label = logit_scene()
    ignored = (label < 0) | (label >= K)
    options = dict(controller=controller, resolution=resolution)
    bad = S.detach().masked_fill(ignored.unsqueeze(1), float('nan')).requires_grad_()
    loss = loss_of(bad, T.masked_fill(ignored.unsqueeze(1), float('inf')), label, **options)
    torch.testing.assert_close(loss, loss_of(S, T, label, **options))
    (grad,) = torch.autograd.grad(loss, bad)
    assert grad.movedim(1, -1)[ignored].eq(0).all() and grad.isfinite().all()


def test_nothing_valid_is_an_exact_zero_in_the_graph():
    S, T, label = logit_scene()
    wrong = -1e3 * F.one_hot(label.clamp(0, K - 1), K).movedim(-1, 1).double()  # a teacher, everywhere
    nothing = torch.full_like(label, 255)
    for teacher, given, errors in ((T, nothing, 'keep'), (T, nothing, 'mask'), (wrong, label, 'mask')):
        loss, stats = dwld_loss(S, teacher, given, teacher_errors=errors)
        assert loss == 0 and torch.autograd.grad(loss, S)[0].eq(0).all() and not any(stats.values())


@pytest.mark.parametrize('controller', ['dkd', 'logit'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('classes', [1, K])
def test_extreme_logits_stay_finite(dtype, classes, controller):
    S, T, label = logit_scene(classes=classes)
    for sign in (1, -1):
        extreme = (1e3 * S.detach().sign()).to(dtype).requires_grad_()
        loss = loss_of(extreme, (sign * 1e3 * T.sign()).to(dtype), label, controller=controller)
        assert loss.isfinite() and loss.dtype == torch.float32
        assert torch.autograd.grad(loss, extreme)[0].isfinite().all()


def test_no_gradient_reaches_the_teacher():
    S, T, label = logit_scene()
    T.requires_grad_()
    loss_of(S, T, label).backward()
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
    for errors in (dict(), dict(teacher_errors='mask')):
        got, expected = loss_of(S, T, label, **errors), brute_force(two_S, two_T, label, **errors)
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('controller', CONTROLLERS)
def test_it_neither_waits_for_the_device_nor_makes_more_than_maps_of_all_classes(controller):
    operations = []
    for classes in (20, 40):
        S, T, label = logit_scene(dtype=torch.float32, size=24, classes=classes)
        small = S.detach()[..., ::4, ::4].contiguous().requires_grad_()
        with Count() as count:
            loss_of(small, T[..., ::4, ::4], label, controller=controller, teacher_errors='mask').backward()
        assert not {'_local_scalar_dense', 'nonzero'} & set(count.names)
        assert count.largest == S.numel()
        operations.append(len(count.names))
    assert operations[0] == operations[1]  # no loop over classes


def test_module_is_the_function():
    S, T, label = logit_scene(dtype=torch.float32)
    options = dict(controller='pixel', gamma=0.5, tau=2.0, teacher_errors='mask', resolution='logits')
    options['ignore_index'] = 1
    module = MODELS.build(dict(type='DWLDLoss', loss_weight=3.0, **options))
    loss, stats = dwld_loss(S, T, label, **options)
    assert module(S, T, label).equal(3 * loss) and module.stats == stats
    assert not any(value.requires_grad for value in stats.values())


def test_wrong_options_are_named():
    with pytest.raises(
        ValueError, match="DWLDLoss: controller='class' is not known. Possible: 'kd', 'dkd', 'pixel'"
    ):
        DWLDLoss(controller='class')
    with pytest.raises(ValueError, match="dwld_loss: teacher_errors='drop' is not known"):
        loss_of(*logit_scene(), teacher_errors='drop')
    with pytest.raises(ValueError, match='DWLDLoss: tau must be a number above 0. Got: 0.0'):
        DWLDLoss(tau=0.0)


def test_without_any_part_it_never_runs():
    assert DWLDLoss('dkd', alpha=0, beta=0).loss_weight == 0 and DWLDLoss(alpha=0, beta=0).loss_weight == 1


def test_wrong_shapes_are_named():
    S, T, label = logit_scene()
    with pytest.raises(ValueError, match='logits_S has 5 classes, logits_T has 4'):
        loss_of(S, T[:, :4], label)
    with pytest.raises(ValueError, match='logits_S must be a floating-point map'):
        loss_of(S[0], T, label)
    with pytest.raises(TypeError, match='integers'):
        loss_of(S, T, label.float())
