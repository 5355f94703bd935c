import math

import pytest
import torch
import torch.nn.functional as F
from dispatch import Count

from kd_methods.ops import relations
from kd_methods.ops.relations import relation_kl, self_relation


def vectors(n=2, places=12, c_S=4, c_T=7, dtype=torch.float64):
    x_S, x_T = (torch.randn(n, places, c, dtype=torch.float64).to(dtype) for c in (c_S, c_T))
    return x_S.requires_grad_(), x_T


def dense(x_S, x_T, tau=0.1):
    """The definition: both relations, whole."""
    units = (F.normalize(x, dim=2) for x in (x_S, x_T))
    log_S, log_T = ((phi @ phi.mT / tau).log_softmax(2) for phi in units)
    return (log_T.exp() * (log_T - log_S)).sum(2).mean()


def test_relation_of_nine_places_by_hand():
    x = torch.randn(1, 9, 3, dtype=torch.float64)
    unit = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in x[0].tolist()]
    expected = []
    for a in unit:
        row = [math.exp(sum(p * q for p, q in zip(a, b)) / 0.3) for b in unit]
        expected.append([value / sum(row) for value in row])
    torch.testing.assert_close(self_relation(x, 0.3)[0], torch.tensor(expected, dtype=torch.float64))


def test_rows_sum_to_one_and_may_be_asked_for_alone():
    x, _ = vectors()
    R = self_relation(x)
    torch.testing.assert_close(R.sum(2), torch.ones_like(R[..., 0]))
    torch.testing.assert_close(self_relation(x, rows=[5, 0]), R[:, [5, 0]])
    assert self_relation(torch.zeros(1, 4, 2))[0].tolist() == [[0.25] * 4] * 4


@pytest.mark.parametrize('tau', [0.05, 0.1, 1.0])
@pytest.mark.parametrize('block', [1, 5, 12, 100, None])
def test_blocks_equal_the_dense_form_in_value_and_gradient(block, tau):
    x_S, x_T = vectors()
    got, expected = relation_kl(x_S, x_T, tau, block=block), dense(x_S, x_T, tau)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    grads = (torch.autograd.grad(value, x_S)[0] for value in (got, expected))
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_gradcheck():
    x_S, x_T = vectors(places=6)
    valid = torch.tensor([[1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1]]).bool()
    for mask in (None, valid):
        torch.autograd.gradcheck(relation_kl, (x_S, x_T, 0.3, mask, 4))


def test_zero_only_where_the_relations_agree():
    x_S, x_T = vectors(c_T=4)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    assert relation_kl(x_S, x_S).item() == 0
    for same in (x_S @ turn, 5 * x_S, x_S * torch.rand(2, 12, 1).add(0.1), F.pad(x_S, (0, 3))):
        zero = torch.zeros((), dtype=torch.float64)
        torch.testing.assert_close(relation_kl(x_S, same), zero, atol=1e-12, rtol=0)
    assert relation_kl(x_S, x_T) > 0.1
    assert relation_kl(x_S.float(), (x_S @ turn).float()) >= 0


def test_one_permutation_of_both_changes_nothing_and_of_one_does():
    x_S, x_T = vectors()
    order = torch.randperm(12)
    value = relation_kl(x_S, x_T)
    torch.testing.assert_close(relation_kl(x_S[:, order], x_T[:, order]), value)
    assert not torch.isclose(relation_kl(x_S[:, order], x_T), value)


def test_large_temperature_gives_nothing():
    x_S, x_T = vectors()
    values = [relation_kl(x_S, x_T, tau).item() for tau in (0.1, 1.0, 10.0, 1e4)]
    assert values == sorted(values, reverse=True) and values[-1] < 1e-8


def test_it_is_not_symmetric():
    x_S, x_T = vectors(c_T=4)
    assert not torch.isclose(relation_kl(x_S, x_T), relation_kl(x_T, x_S))


def test_images_count_alike():
    x_S, x_T = vectors(n=3)
    single = [relation_kl(x_S[i : i + 1], x_T[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(relation_kl(x_S, x_T), sum(single) / 3)


def test_zero_vectors_get_gradient_0_and_others_a_finite_one():
    x_S, x_T = vectors(dtype=torch.float32)
    with torch.no_grad():
        x_S[:, 3:5] = 0
    relation_kl(x_S, x_T).backward()
    assert x_S.grad[:, 3:5].count_nonzero() == 0
    assert x_S.grad.isfinite().all() and 0 < x_S.grad.abs().max() < 1e3


def test_what_does_not_count_has_no_influence():
    x_S, x_T = vectors(n=3)
    valid = torch.rand(3, 12) > 0.4
    valid[1] = False  # an image without any
    expected = sum(relation_kl(x_S[i : i + 1, valid[i]], x_T[i : i + 1, valid[i]]) for i in (0, 2)) / 2
    slope = torch.autograd.grad(expected, x_S)[0]
    for junk in (0.0, 1e9, float('nan')):
        spoilt = x_S.detach().masked_fill(~valid[..., None], junk).requires_grad_()
        got = relation_kl(spoilt, x_T.masked_fill(~valid[..., None], junk), valid=valid, block=5)
        torch.testing.assert_close(got, expected)
        grad = torch.autograd.grad(got, spoilt)[0]
        assert grad.isfinite().all() and grad[~valid].count_nonzero() == 0
        torch.testing.assert_close(grad[valid], slope[valid])
    nothing = relation_kl(x_S, x_T, valid=torch.zeros_like(valid))
    nothing.backward()
    assert nothing.item() == 0 and x_S.grad.count_nonzero() == 0


def test_teacher_gets_no_gradient_and_the_graph_can_be_used_twice():
    x_S, x_T = vectors()
    x_T.requires_grad_()
    value = 2 * relation_kl(x_S, x_T)
    first = torch.autograd.grad(value, x_S, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(value, x_S)[0], first)
    relation_kl(x_S, x_T).backward()
    assert x_T.grad is None


def test_half_precision_is_reduced_in_float32():
    x_S, x_T = vectors(dtype=torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = relation_kl(x_S, x_T)
    torch.testing.assert_close(value, relation_kl(x_S.float(), x_T.float()), rtol=1e-6, atol=0)
    value.backward()
    assert value.dtype == torch.float32 and x_S.grad.dtype == torch.bfloat16


def test_the_gradient_of_half_vectors_bears_a_scaled_loss():
    """GradScaler multiplies the loss by 65536, which float16 does not hold."""
    x_S, x_T = vectors(dtype=torch.float16)
    relation_kl(x_S, x_T).backward()
    plain, x_S.grad = x_S.grad, None
    (2**16 * relation_kl(x_S, x_T)).backward()
    assert x_S.grad.isfinite().all()
    torch.testing.assert_close(x_S.grad.float() / 2**16, plain.float(), rtol=1e-2, atol=1e-5)


def test_nothing_as_large_as_the_relation_is_ever_made(monkeypatch):
    monkeypatch.setattr(relations, 'BLOCK', 2**12)
    x_S, x_T = vectors(1, 600, 8, 16, torch.float32)
    with Count() as count:
        relation_kl(x_S, x_T).backward()
    assert count.largest <= max(600 * 16, 2**12)


def test_without_gradient_none_is_computed():
    x_S, x_T = vectors()
    with Count() as count:
        relation_kl(x_S.detach(), x_T)
    assert 'baddbmm_' not in count.names
    with Count() as count:
        relation_kl(x_S, x_T)
    assert 'baddbmm_' in count.names


def test_mistakes_are_named():
    x = torch.zeros(1, 4, 2)
    with pytest.raises(ValueError, match=r'N x n x C_S.*\(1, 4, 2\), \(1, 5, 2\)'):
        relation_kl(x, torch.zeros(1, 5, 2))
    with pytest.raises(ValueError, match='N x n x C_S'):
        relation_kl(x[0], x[0])
    with pytest.raises(ValueError, match='relation_kl: tau must be a number above 0'):
        relation_kl(x, x, tau=0)
    with pytest.raises(ValueError, match='self_relation: tau must be a number above 0'):
        self_relation(x, tau=-1.0)
