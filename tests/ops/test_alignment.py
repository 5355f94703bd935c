import pytest
import torch

from kd_methods.ops.alignment import cka, hsic, kernel_regression, laplace_kernel, standardise


def tokens(n=32, channels=8, images=2, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(images, n, channels, generator=g, dtype=torch.float64).to(dtype)


def align(x, y, **options):
    return cka(x, y, **options)[0]


def weights(x, bandwidth=1.0):
    kernel = laplace_kernel(x, bandwidth)
    return kernel / kernel.sum(2, keepdim=True)


def brute_kernel(x, bandwidth=1.0):
    n = len(x)
    distance = torch.stack([torch.stack([(a - b).norm() for b in x]) for a in x])
    others = distance[~torch.eye(n, dtype=torch.bool)].sort().values
    return (-distance / (bandwidth * others[(len(others) - 1) // 2])).exp()


@pytest.mark.parametrize('n', [2, 5, 8])
def test_kernel_is_the_definition(n):
    x = tokens(n, 3)
    for bandwidth in (0.5, 1.0):
        expected = torch.stack([brute_kernel(image, bandwidth) for image in x])
        torch.testing.assert_close(laplace_kernel(x, bandwidth), expected)


def test_rows_sum_to_one_and_are_largest_on_the_diagonal():
    w = weights(tokens(32, 8, dtype=torch.float32))
    torch.testing.assert_close(w.sum(2), torch.ones(2, 32))
    assert (w.argmax(2) == torch.arange(32)).all()


def test_bandwidth_goes_from_the_tokens_to_their_mean():
    x = tokens()
    torch.testing.assert_close(kernel_regression(x, 1e-3), x)
    mean = x.mean(1, keepdim=True).expand_as(x)
    torch.testing.assert_close(kernel_regression(x, 1e6), mean, rtol=0, atol=1e-4)
    assert not torch.allclose(kernel_regression(x, 1.0), mean, atol=1e-2)


@pytest.mark.parametrize('n, channels', [(12, 5), (6, 20)])
def test_standard_tokens_are_regressed_as_any(n, channels):
    x, weight = standardise(tokens(n, channels) + 2).requires_grad_(), tokens(n, channels, seed=2)
    results = [kernel_regression(x, 0.7, standard) for standard in (True, False)]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*(torch.autograd.grad((weight * y).sum(), x)[0] for y in results))
    constant = torch.zeros(1, n, channels, requires_grad=True)
    y = kernel_regression(constant, standard=True)
    assert y.eq(0).all() and torch.autograd.grad(y.sum(), constant)[0].isfinite().all()


def test_kernel_has_the_gradient_of_its_definition():
    x = tokens(6, 3, 1).requires_grad_()
    sides = [laplace_kernel(x)[0], None]
    distance = torch.cdist(x[0], x[0], compute_mode='donot_use_mm_for_euclid_dist')
    others = distance.detach()[~torch.eye(6, dtype=torch.bool)].sort().values
    sides[1] = (-distance / others[14]).exp()  # sigma is a constant to the gradient
    weight = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads = [torch.autograd.grad((weight * side).sum(), x)[0] for side in sides]
    torch.testing.assert_close(*grads)


def test_equal_tokens_have_a_finite_gradient():
    x = tokens(8, 3, 1)
    x[0, 3] = x[0, 5]
    x.requires_grad_()
    kernel = laplace_kernel(x)
    assert kernel[0, 3, 5] == 1
    (grad,) = torch.autograd.grad(kernel[0, 3].sum(), x)
    assert grad.isfinite().all() and grad.ne(0).any()


def test_constant_tokens_stay_constant():
    x = torch.full((1, 12, 3), 5.1, requires_grad=True)
    out = kernel_regression(x)
    torch.testing.assert_close(out, x)
    # What is left of their mean is rounding.
    assert standardise(x).eq(0).all() and standardise(out).eq(0).all()
    assert torch.autograd.grad(standardise(out).sum(), x)[0].eq(0).all()
    assert standardise(torch.zeros(1, 4, 2)).eq(0).all()


def test_a_spread_of_less_than_a_thousandth_counts_as_none():
    x = tokens(16, 4, 1)
    assert standardise(1 + 1e-2 * x).ne(0).all() and standardise(1 + 1e-4 * x).eq(0).all()


@pytest.mark.parametrize('estimator', ['debiased', 'biased'])
def test_hsic_is_its_definition(estimator, n=12):
    x, y = tokens(n, 5), tokens(n, 9, seed=1)
    K, L = x @ x.mT, y @ y.mT
    got = hsic(K, L, estimator)
    one, eye = torch.ones(n, 1, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    for i in range(2):
        if estimator == 'biased':
            H = eye - 1 / n
            expected = (K[i] @ H @ L[i] @ H).trace() / (n - 1) ** 2
        else:
            k, m = K[i] * (1 - eye), L[i] * (1 - eye)
            sums = (one.T @ k @ one) * (one.T @ m @ one) / ((n - 1) * (n - 2))
            expected = (k @ m).trace() + sums - 2 / (n - 2) * (one.T @ k @ m @ one)
            expected = expected / (n * (n - 3))
        torch.testing.assert_close(got[i], expected.squeeze())


@pytest.mark.parametrize('estimator', ['debiased', 'biased'])
@pytest.mark.parametrize('n, c_x, c_y', [(16, 5, 5), (16, 40, 3), (5, 3, 9), (8, 90, 90)])
def test_cka_of_features_is_that_of_their_gram_matrices_with_its_gradients(estimator, n, c_x, c_y):
    x, y = (3 * tokens(n, c, seed=i) + 2 for i, c in enumerate((c_x, c_y)))
    sides = []
    for by_hand in (True, False):
        leaves = [z.clone().requires_grad_() for z in (x, y)]
        K, L = (z @ z.mT for z in leaves)
        plain = hsic(K, L, estimator) / (hsic(K, K, estimator) * hsic(L, L, estimator)).sqrt()
        value = align(*leaves, estimator=estimator) if by_hand else plain
        weight = torch.tensor([1.0, -2.0], dtype=torch.float64)
        sides.append((value, *torch.autograd.grad((value * weight).sum(), leaves)))
    for got, expected in zip(*sides):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-12)


def test_standardise_has_the_gradient_of_its_definition():
    x = (tokens() + 5).requires_grad_()
    centred = x - x.mean(1, keepdim=True)
    plain = centred / centred.detach().square().mean((1, 2), keepdim=True).sqrt()
    torch.testing.assert_close(standardise(x), plain)
    weight = tokens(seed=3)
    grads = [torch.autograd.grad((weight * z).sum(), x)[0] for z in (standardise(x), plain)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize('options', [dict(), dict(estimator='biased'), dict(kernel='laplace')], ids=str)
@pytest.mark.parametrize('channels', [6, 48])  # feature form and gram form
def test_what_cka_does_not_see(options, channels):
    x, y = tokens(24, channels), tokens(24, 10, seed=1)
    torch.testing.assert_close(align(x, x, **options), torch.ones(2, dtype=torch.float64))
    value = align(x, y, **options)
    turn = torch.linalg.qr(tokens(channels, channels, 1, seed=2)[0]).Q
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    for moved in (x @ turn, 7 * x, x + 3, x @ turn * 0.1 - 2):
        torch.testing.assert_close(align(moved, y, **options), value)
    torch.testing.assert_close(align(x[:, order], y[:, order], **options), value)
    assert not torch.allclose(align(x[:, order], y, **options), value)


def test_cka_sees_a_map_that_is_not_orthogonal():
    x = tokens(64, 8)
    stretch = torch.diag(torch.tensor([8.0, 4, 2, 1, 1, 1, 1, 1], dtype=torch.float64))
    assert (align(x, x @ stretch) < 0.8).all()


def test_debiased_cka_of_unrelated_features_is_near_zero():
    x, y = tokens(256, 512, 8, dtype=torch.float32), tokens(256, 512, 8, seed=1, dtype=torch.float32)
    assert (align(x, y).abs() < 0.05).all()
    assert (align(x, y, estimator='biased') > 0.5).all()  # the reason for the default


@pytest.mark.parametrize('n, channels', [(256, 64), (256, 512), (1024, 64)])
def test_float32_is_float64_on_features_with_a_large_mean(n, channels):
    g = torch.Generator().manual_seed(0)
    shared = torch.rand(1, n, 8, generator=g, dtype=torch.float64)

    def features():
        mixed = shared @ torch.rand(8, channels, generator=g, dtype=torch.float64)
        return (mixed + torch.rand(1, n, channels, generator=g, dtype=torch.float64)).relu() + 10

    x, y = features(), features()
    values = []
    for dtype in (torch.float32, torch.float64):
        a, b = (standardise(kernel_regression(standardise(z.to(dtype)))) for z in (x, y))
        values.append(align(a, b).item())
    assert abs(values[0] - values[1]) < 1e-3 and 0.2 < values[1] < 0.9999


@pytest.mark.parametrize('kernel', ['linear', 'laplace'])
def test_features_that_do_not_vary_have_no_alignment(kernel):
    x, y = torch.ones(2, 9, 4), tokens(9, 4, dtype=torch.float32)
    x[1] = y[1]
    x.requires_grad_()
    alignment, defined = cka(standardise(x), y, kernel)
    assert defined.tolist() == [False, True] and alignment[0] == 0
    (grad,) = torch.autograd.grad(alignment.sum(), x)
    assert grad.isfinite().all() and grad[0].eq(0).all()


@pytest.mark.parametrize('estimator', ['debiased', 'biased'])
def test_gradient_of_cka(estimator):
    x, y = tokens(6, 3, 1), tokens(6, 4, 1, seed=1)
    torch.autograd.gradcheck(lambda z: align(z, y, estimator=estimator), x.requires_grad_())
    wide = tokens(5, 7, 1).requires_grad_()  # gram form
    torch.autograd.gradcheck(lambda z: align(z, tokens(5, 9, 1, seed=3)), wide)


def test_mistakes_are_named():
    x = tokens(8, 3)
    with pytest.raises(ValueError, match=r'n of 4 or more. Got: \(2, 3, 3\)'):
        cka(x[:, :3], x[:, :3])
    with pytest.raises(ValueError, match='expected N x n x C'):
        cka(x, x[:, :5])
    with pytest.raises(ValueError, match="kernel='rbf' is not known"):
        cka(x, x, 'rbf')
    for function in (cka, hsic):
        with pytest.raises(ValueError, match=f"{function.__name__}: estimator='plain' is not known"):
            function(x, x, estimator='plain')
