import math

import pytest
import torch
import torch.nn.functional as F

from kd_methods.ops.grids import resize_map
from kd_methods.ops.logits import channel_kl, non_target_kl, target_log_odds


def maps(*shape, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=g, dtype=torch.float64).to(dtype).unbind()


@pytest.mark.parametrize('shape', [(2, 5, 3, 4), (6, 7)])
def test_channel_kl_is_that_of_the_teacher_to_the_student(shape):
    x_S, x_T = maps(*shape)
    p_S, p_T = x_S.softmax(1), x_T.softmax(1)
    each = (p_T * (p_T.log() - p_S.log())).sum(1)
    torch.testing.assert_close(channel_kl(x_S, x_T), each.mean())
    torch.testing.assert_close(channel_kl(x_S, x_T, 'element'), each.mean() / shape[1])
    assert not torch.isclose(channel_kl(x_S, x_T), channel_kl(x_T, x_S))


def test_channel_kl_takes_one_shape():
    with pytest.raises(ValueError, match=r'one shape. Got: \(1, 6\), \(2, 6\)'):
        channel_kl(torch.zeros(1, 6), torch.zeros(2, 6))


def test_channel_kl_knows_its_reductions():
    with pytest.raises(ValueError, match="reduction='mean' is not known. Possible: 'position', 'element'"):
        channel_kl(*maps(1, 2), 'mean')


def valid_everywhere(label):
    return torch.ones_like(label, dtype=torch.bool)


def test_log_odds_are_those_of_the_softmax():
    logits, _ = maps(2, 5, 3, 4)
    label = torch.randint(0, 5, (2, 3, 4))
    u = target_log_odds(logits, label, valid_everywhere(label))
    p = logits.softmax(1).gather(1, label.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(u, p.log() - (1 - p).log())


@pytest.mark.parametrize('classes', [1, 2, 5])
def test_log_odds_gradcheck(classes):
    logits = maps(2, classes, 2, 3)[0].requires_grad_()
    label = torch.randint(0, max(classes, 2), (2, 2, 3))

    def odds(x):
        return target_log_odds(x, label, label < 4).masked_fill(label >= 4, 0)

    torch.autograd.gradcheck(odds, logits)


def test_log_odds_of_a_single_channel_are_those_of_the_sigmoid():
    logits, _ = maps(1, 1, 1, 4)
    label = torch.tensor([[[0, 1, 0, 1]]])
    p = logits[:, 0].sigmoid()
    u = target_log_odds(logits, label, valid_everywhere(label))
    torch.testing.assert_close(u.sigmoid(), torch.where(label == 1, p, 1 - p))


def test_log_odds_of_a_class_that_is_all_but_certain():
    logits = torch.tensor([30.0, 0.0, -1.0]).view(1, 3, 1, 1)  # 1 - p_y would be 0 in float32
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    u = target_log_odds(logits, label, valid_everywhere(label))
    torch.testing.assert_close(u.item(), 30 - math.log(1 + math.exp(-1)))


def non_target_kl_of_student(x, label, valid):
    return non_target_kl(x, torch.zeros_like(x), label, valid)


@pytest.mark.parametrize('function', [target_log_odds, non_target_kl_of_student])
def test_invalid_pixels_have_no_gradient_even_if_they_are_nan(function):
    logits, _ = maps(1, 3, 1, 4)
    logits[..., 1] = torch.nan
    logits[..., 2] = torch.inf
    logits.requires_grad_()
    valid = torch.tensor([[[True, False, False, True]]])
    function(logits, torch.zeros(1, 1, 4, dtype=torch.long), valid).sum().backward()
    assert logits.grad[..., 1:3].eq(0).all() and logits.grad[..., 0].ne(0).any()


def test_log_odds_leave_the_logits_alone():
    logits, _ = maps(1, 3, 1, 4)
    before, label = logits.clone(), torch.zeros(1, 1, 4, dtype=torch.long)
    target_log_odds(logits, label, valid_everywhere(label))
    non_target_kl(logits, logits, label, valid_everywhere(label))
    assert logits.equal(before)


def test_non_target_kl_is_over_the_other_classes():
    S, T = maps(2, 4, 2, 3)
    label = torch.randint(0, 4, (2, 2, 3))
    got = non_target_kl(S, T, label, valid_everywhere(label))
    others = F.one_hot(label, 4) == 0
    p_S, p_T = (x.movedim(1, -1)[others].view(-1, 3).softmax(1) for x in (S, T))
    torch.testing.assert_close(got.flatten(), (p_T * (p_T / p_S).log()).sum(1))
    one_other = non_target_kl(S[:, :2], T[:, :2], label.clamp(max=1), valid_everywhere(label))
    assert one_other.eq(0).all()


@pytest.mark.parametrize('kappa', [0.0, 1.0, 5.0])
@pytest.mark.parametrize('classes', [2, 3, 6])
def test_non_target_kl_is_its_formula_in_value_and_gradient(kappa, classes):
    g = torch.Generator().manual_seed(0)
    S, T = 2 * torch.randn(2, 2, classes, 3, 4, generator=g, dtype=torch.float64)
    S.requires_grad_()
    label = torch.randint(0, classes, (2, 3, 4), generator=g)
    values = []
    for n, y, x in torch.cartesian_prod(*map(torch.arange, label.shape)).tolist():
        others = [j for j in range(classes) if j != label[n, y, x]]
        q_S, q_T = S[n, others, y, x].softmax(0), T[n, others, y, x].softmax(0)
        gap = (q_T - q_S).detach().abs()
        weight = (1 + kappa * gap / gap.mean()) / (1 + kappa) if gap.mean() > 0 else torch.ones_like(gap)
        assert float(weight.mean()) == pytest.approx(1)
        values.append((weight * (q_T * (q_T / q_S).log() - q_T + q_S)).sum())
    expected = torch.stack(values).view_as(label)
    got = non_target_kl(S, T, label, valid_everywhere(label), kappa)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-9)
    scale = torch.rand(label.shape, generator=g, dtype=torch.float64)
    grads = [torch.autograd.grad((scale * value).sum(), S)[0] for value in (got, expected)]
    torch.testing.assert_close(*grads, atol=1e-12, rtol=1e-9)


def test_resize_map_leaves_maps_of_the_size_alone():
    x, _ = maps(1, 2, 4, 4)
    assert resize_map(x, (4, 4)) is x
    expected = F.interpolate(x, size=(7, 5), mode='bilinear', align_corners=False)
    torch.testing.assert_close(resize_map(x, torch.Size((7, 5))), expected)
