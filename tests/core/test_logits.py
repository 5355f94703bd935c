import pytest
import torch
import torch.nn.functional as F

from kd_methods.core.logits import channel_kl, resize_map, target_log_odds


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


def test_channel_kl_knows_its_reductions():
    with pytest.raises(ValueError, match="reduction='mean' is not known. Possible: 'position', 'element'"):
        channel_kl(*maps(1, 2), 'mean')


def test_log_odds_are_those_of_the_softmax():
    logits, _ = maps(2, 5, 3, 4)
    label = torch.randint(0, 5, (2, 3, 4))
    u, rest = target_log_odds(logits, label, torch.ones_like(label, dtype=torch.bool))
    p = logits.softmax(1).gather(1, label.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(u, p.log() - (1 - p).log())
    others = F.one_hot(label, 5).movedim(-1, 1) == 0
    assert rest[others].equal(logits[others]) and rest[~others].isneginf().all()


def test_log_odds_of_a_single_channel_are_those_of_the_sigmoid():
    logits, _ = maps(1, 1, 1, 4)
    label = torch.tensor([[[0, 1, 0, 1]]])
    u, _ = target_log_odds(logits, label, torch.ones_like(label, dtype=torch.bool))
    p = logits[:, 0].sigmoid()
    torch.testing.assert_close(u.sigmoid(), torch.where(label == 1, p, 1 - p))


def test_invalid_pixels_have_no_gradient_even_if_they_are_nan():
    logits, _ = maps(1, 3, 1, 4)
    logits[..., 1] = torch.nan
    logits[..., 2] = torch.inf
    logits.requires_grad_()
    valid = torch.tensor([[[True, False, False, True]]])
    u, _ = target_log_odds(logits, torch.zeros(1, 1, 4, dtype=torch.long), valid)
    u.masked_fill(~valid, 0).sum().backward()
    assert logits.grad[..., 1:3].eq(0).all() and logits.grad[..., 0].ne(0).all()


def test_resize_map_leaves_maps_of_the_size_alone():
    x, _ = maps(1, 2, 4, 4)
    assert resize_map(x, (4, 4)) is x
    expected = F.interpolate(x, size=(7, 5), mode='bilinear', align_corners=False)
    assert resize_map(x, torch.Size((7, 5))).equal(expected)
