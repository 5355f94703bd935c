"""The k-th smallest value."""

import pytest
import torch

from kd_methods.ops.selection import kth_value


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_kth_value(dtype):
    """The very value that torch finds, of rows with equal values and infinite ones too."""
    x = torch.randn(3, 101, dtype=dtype, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    x[1, 5], x[2, 7] = torch.inf, -torch.inf
    for k in (1, 2, 50, 100, 101):
        assert kth_value(x, k).equal(x.kthvalue(k, 1).values)


def test_kth_value_of_what_is_not_contiguous():
    x = torch.randn(7, 4).mT
    assert kth_value(x, 3).equal(x.contiguous().kthvalue(3, 1).values)


def test_kth_value_leaves_its_input_alone():
    x = torch.randn(2, 9)
    before = x.clone()
    kth_value(x, 4)
    assert x.equal(before)


def test_kth_value_as_torch_wants_its_operators():
    torch.library.opcheck(kth_value, (torch.randn(2, 9), 4), test_utils='test_schema')
    torch.library.opcheck(kth_value, (torch.randn(2, 9), 4), test_utils='test_faketensor')
