import pytest
import torch
from dispatch import Count

from kd_methods.ops.gram import gram_distance


def dense(x, y):
    return (x @ x.T - y @ y.T).square().sum()


def pair(n, c, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, c, generator=g, dtype=torch.float64).to(dtype).requires_grad_().unbind()


@pytest.mark.parametrize('n, c', [(4, 9), (9, 4), (5, 5), (1, 3), (3, 1), (40, 7)])
def test_equals_the_dense_form_in_value_and_gradients(n, c):
    x, y = pair(n, c)
    got, expected = gram_distance(x, y), dense(x, y)
    torch.testing.assert_close(got, expected)
    for a, b in zip(torch.autograd.grad(got, (x, y)), torch.autograd.grad(expected, (x, y))):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('n, c', [(3, 5), (6, 2)])
def test_gradcheck(n, c):
    torch.autograd.gradcheck(gram_distance, pair(n, c))


@pytest.mark.parametrize('n, c', [(200, 1000), (2048, 256)])
@pytest.mark.parametrize('step', [1e-1, 1e-3, 1e-5])
def test_float32_is_right_near_equality(n, c, step):
    g = torch.Generator().manual_seed(0)
    y = torch.nn.functional.normalize(torch.randn(n, c, generator=g))
    x = (y + step * torch.randn(n, c, generator=g) / c**0.5).requires_grad_()
    got = gram_distance(x, y)
    exact = x.detach().double().requires_grad_()
    expected = dense(exact, y.double())
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=0)
    grads = [torch.autograd.grad(v, z)[0].double() for v, z in ((got, x), (expected, exact))]
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-3 * grads[1].abs().max().item())


@pytest.mark.parametrize('n, c', [(4, 9), (9, 4)])
def test_equal_sets_give_exact_zeros(n, c):
    x, _ = pair(n, c, dtype=torch.float32)
    value = gram_distance(x, x.detach().clone())
    assert value == 0 and torch.autograd.grad(value, x)[0].eq(0).all()


def test_rotated_vectors_have_the_same_relations():
    x, y = pair(30, 8)
    rotation = torch.linalg.qr(y[:8]).Q
    value = gram_distance(x, x @ rotation)
    assert 0 <= value < 1e-20 * x.square().sum() ** 2


@pytest.mark.parametrize('n, c', [(1000, 8), (8, 1000)])
def test_only_the_smaller_matrix_is_built(n, c):
    x, y = (z.detach().requires_grad_() for z in pair(n, c, dtype=torch.float32))
    with Count() as count:
        gram_distance(x, y).backward()
    assert count.largest == n * c


def test_it_takes_matrices_of_one_shape():
    with pytest.raises(ValueError, match=r'two n x C matrices of one shape. Got: \(3, 2\), \(3, 4\)'):
        gram_distance(torch.zeros(3, 2), torch.zeros(3, 4))
