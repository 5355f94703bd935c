"""The k-th smallest of many values."""

import numpy as np
import torch
from torch import Tensor


@torch.library.custom_op('kd_methods::kth_value', mutates_args=())
def kth_value(x: Tensor, k: int) -> Tensor:
    """The k-th smallest value of each row, k from 1; without gradient.

    As ``x.kthvalue(k, 1).values``, which takes some 20 times as long on a CPU: there numpy's partial sort
    does it.

    Shape:
        - x: (N, n); output: (N,).

    Example:
        >>> kth_value(torch.tensor([[3., 1., 2.]]), 2)
        tensor([2.])
    """
    return x.kthvalue(k, 1).values


@kth_value.register_kernel('cpu')
def _(x: Tensor, k: int) -> Tensor:
    values = x.detach().numpy()
    return torch.from_numpy(np.ascontiguousarray(np.partition(values, k - 1, axis=1)[:, k - 1]))


@kth_value.register_fake
def _(x: Tensor, k: int) -> Tensor:
    return x.new_empty(len(x))
