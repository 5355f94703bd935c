"""Unit vectors, with their gradient by hand."""

import pytest
import torch
import torch.nn.functional as F

from kd_methods.ops.vectors import unit_vectors


@pytest.mark.parametrize('dim', [0, 1, -1])
def test_unit_vectors(dim):
    """Value and gradient of normalisation."""
    x = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    got, expected = unit_vectors(x, dim), F.normalize(x, dim=dim)
    torch.testing.assert_close(got, expected)
    weight = torch.randn_like(x)
    torch.testing.assert_close(*(torch.autograd.grad((v * weight).sum(), x)[0] for v in (got, expected)))
    torch.autograd.gradcheck(lambda x: unit_vectors(x, dim), x)


def test_zero_vectors_stay_zero_without_gradient():
    x = torch.randn(2, 3).index_fill(0, torch.tensor(1), 0).requires_grad_()
    unit = unit_vectors(x)
    unit.sum().backward()
    assert unit[1].eq(0).all() and x.grad[1].eq(0).all() and x.grad[0].ne(0).any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_squares_that_low_precision_cannot_hold(dtype):
    """Only the length has to fit into the type."""
    x = torch.full((2, 4), 1e3, dtype=dtype)
    torch.testing.assert_close(unit_vectors(x), torch.full_like(x, 0.5), rtol=1e-2, atol=0)
