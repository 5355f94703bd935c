import math

import pytest
import torch

from kd_methods.ops.reductions import full_precision, masked_median, mean_over_images, valid_mean


@pytest.mark.parametrize('kept', [1, 2, 7, 8])
def test_masked_median_is_the_median_of_what_is_kept(kept):
    x = torch.randn(4, 5)
    mask = torch.zeros(20, dtype=torch.bool)
    mask[torch.randperm(20)[:kept]] = True
    mask = mask.view(4, 5)
    assert masked_median(x, mask).equal(x[mask].median())
    assert masked_median(x.masked_fill(~mask, math.nan), mask).equal(x[mask].median())


def test_masked_median_of_nothing_is_nan():
    assert masked_median(torch.randn(3), torch.zeros(3, dtype=torch.bool)).isnan()


def test_mean_over_images_counts_images_alike():
    x = torch.tensor([[1.0, 3.0, math.nan], [8.0, math.nan, math.inf], [math.nan] * 3]).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, False], [False] * 3])
    mean = mean_over_images(x, mask)
    assert mean.item() == 5.0  # of 2 and 8
    mean.backward()
    assert x.grad.tolist() == [[0.25, 0.25, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert mean_over_images(x, torch.zeros_like(mask)).item() == 0


def test_valid_mean_counts_places_alike():
    x, valid = torch.tensor([[1.0, 3.0], [8.0, math.nan]]), torch.tensor([[True, True], [True, False]])
    assert valid_mean(x, valid) == 4 and valid_mean(x[:1], None) == 2
    assert valid_mean(x, torch.zeros_like(valid)) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_full_precision(dtype):
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert full_precision(torch.ones(2, dtype=dtype)).dtype == expected
