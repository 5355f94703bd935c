import pytest
import torch

from kd_methods.ops.logits import channel_kl


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


def test_channel_kl_is_its_formula_in_value_and_gradient():
    """Also of logits so large that their exponentials would be infinite."""
    x_S, x_T = maps(2, 5, 3, 4)
    x_S = (1000 * x_S).requires_grad_()
    log_S, log_T = (x.log_softmax(1) for x in (x_S, 1000 * x_T))
    expected = (log_T.exp() * (log_T - log_S)).sum(1).mean()
    got = channel_kl(x_S, 1000 * x_T)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(value, x_S)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_channel_kl_gradcheck():
    x_S, x_T = maps(2, 3, 2)
    torch.autograd.gradcheck(lambda x: channel_kl(x, x_T), x_S.requires_grad_())
