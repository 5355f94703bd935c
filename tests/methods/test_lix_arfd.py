import pytest
import torch
import torch.nn.functional as F
from dispatch import Count
from mmengine.registry import MODELS

from kd_methods.methods.lix import ARFDLoss, arfd_loss
from kd_methods.ops.alignment import cka, kernel_regression


def maps(c_S=6, c_T=10, size=(6, 8), dtype=torch.float64, n=2):
    g = torch.Generator().manual_seed(0)
    S, T = (torch.randn(n, c, *size, generator=g, dtype=torch.float64).to(dtype) for c in (c_S, c_T))
    return S.requires_grad_(), T


def tokens(x):
    return x.flatten(2).transpose(1, 2)


@pytest.mark.parametrize('recalibrate', ['both', 'teacher', 'student', 'none'])
def test_it_is_one_less_the_alignment_of_what_was_recalibrated(recalibrate):
    S, T = maps()
    sides = [
        kernel_regression(tokens(x)) if recalibrate in ('both', side) else tokens(x)
        for side, x in (('student', S), ('teacher', T))
    ]
    expected = (1 - cka(*sides)[0]).mean()
    got = arfd_loss(S, T, recalibrate)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, S)[0], torch.autograd.grad(expected, S)[0])


@pytest.mark.parametrize(
    'options',
    [dict(), dict(recalibrate='none'), dict(kernel='laplace'), dict(estimator='biased'), dict(bandwidth=0.3)],
    ids=str,
)
def test_equal_features_give_zero(options):
    S, _ = maps()
    loss = arfd_loss(S, S.detach(), **options)
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-12)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    moved = torch.einsum('nchw,dc->ndhw', 3 * S + 1, turn)
    loss = arfd_loss(moved, S.detach(), **options)
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    'options',
    [dict(recalibrate='none'), dict(recalibrate='teacher'), dict(recalibrate='teacher', estimator='biased')],
    ids=str,
)
def test_gradcheck(options):
    # Not of the student's regression: its sigma is a constant to the gradient, not to numerical differences.
    S, T = maps(3, 4, (2, 3))
    torch.autograd.gradcheck(lambda x: arfd_loss(x, T, **options), S)


def test_maps_are_pooled_to_a_common_grid():
    S, _ = maps(size=(12, 16))
    T = maps(size=(6, 20))[1]
    pooled = [F.adaptive_avg_pool2d(x, (6, 16)) for x in (S, T)]
    torch.testing.assert_close(arfd_loss(S, T), arfd_loss(*pooled))
    small = [F.adaptive_avg_pool2d(x, (4, 12)) for x in (S, T)]  # 54 / 96 = (3 / 4)^2 of the grid
    torch.testing.assert_close(arfd_loss(S, T, max_tokens=54), arfd_loss(*small))


def test_images_count_alike_and_constant_ones_give_nothing():
    S, T = maps(n=3)
    single = [arfd_loss(S[i : i + 1], T[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(arfd_loss(S, T), sum(single) / 3)
    flat = S.detach().clone()
    flat[1] = 3.7
    flat.requires_grad_()
    loss = arfd_loss(flat, T)
    torch.testing.assert_close(loss, (single[0] + single[2]) / 3)
    grad = torch.autograd.grad(loss, flat)[0]
    assert grad.isfinite().all() and grad[1].eq(0).all() and grad[0].ne(0).any()
    flat_teacher = T.clone()
    flat_teacher[:] = -2.3
    assert arfd_loss(S, flat_teacher) == 0


def test_places_of_both_maps_may_be_exchanged_but_not_of_one():
    S, T = maps()
    torch.testing.assert_close(arfd_loss(S.flip(3), T.flip(3)), arfd_loss(S, T))
    assert not torch.isclose(arfd_loss(S.flip(3), T), arfd_loss(S, T), atol=1e-3)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_and_large_values_stay_finite(dtype):
    S, T = maps(64, 32, (8, 8))
    for scale in (1e-3, 1.0, 1e3):
        x = (scale * S.detach().relu() + scale).to(dtype).requires_grad_()
        loss = arfd_loss(x, (scale * T.relu()).to(dtype))
        assert loss.dtype == torch.float32 and 0 < loss < 2
        assert torch.autograd.grad(loss, x)[0].isfinite().all()


def test_no_gradient_reaches_the_teacher():
    S, T = maps()
    T.requires_grad_()
    arfd_loss(S, T).backward()
    assert T.grad is None and S.grad.ne(0).any()


def test_descent_on_it_aligns_the_student():
    S, T = maps(8, 8, (6, 6), torch.float32)
    optimizer = torch.optim.Adam([S], 0.05)
    start = arfd_loss(S, T).item()
    for _ in range(60):
        optimizer.zero_grad()
        arfd_loss(S, T).backward()
        optimizer.step()
    assert start > 0.8 and arfd_loss(S, T).item() < 0.3


def test_it_neither_waits_for_the_device_nor_makes_more_than_the_kernels():
    operations = []
    for n in (2, 5):
        S, T = maps(4, 6, (20, 20), torch.float32, n)
        with Count() as count:
            arfd_loss(S, T, max_tokens=144).backward()
        assert not {'_local_scalar_dense', 'nonzero'} & set(count.names)
        assert count.largest == n * 144 * 144
        operations.append(len(count.names))
    assert operations[0] == operations[1]  # no loop over images


def test_module_is_the_function():
    S, T = maps(dtype=torch.float32)
    options = dict(recalibrate='teacher', bandwidth=0.5, kernel='laplace', estimator='biased', max_tokens=16)
    module = MODELS.build(dict(type='ARFDLoss', loss_weight=2.0, **options))
    assert module(S, T).equal(2 * arfd_loss(S, T, **options))
    assert not list(module.parameters())


def test_wrong_options_are_named():
    with pytest.raises(
        ValueError, match="recalibrate='all' is not known. Possible: 'both', 'teacher', 'student'"
    ):
        ARFDLoss(recalibrate='all')
    with pytest.raises(ValueError, match="arfd_loss: estimator='plain' is not known"):
        arfd_loss(*maps(), estimator='plain')
    with pytest.raises(ValueError, match='max_tokens must be a whole number of 4 or more. Got: 3'):
        ARFDLoss(max_tokens=3)


def test_wrong_shapes_are_named():
    S, T = maps()
    with pytest.raises(ValueError, match='share 1 x 3 places, and need 4 or more. Tap an earlier stage'):
        arfd_loss(S[:, :, :1, :3], T)
    with pytest.raises(ValueError, match='feat_T must be a floating-point map'):
        ARFDLoss()(S, T[0])
    with pytest.raises(ValueError, match='same batch size'):
        ARFDLoss()(S, T[:1])
