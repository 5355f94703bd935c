"""Means and medians over a part of a tensor, and their precision; nothing here waits for the device."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """float32, or float64 where it already is: what reductions over pixels and pairs run in."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Where mixed precision leaves the types of a tensor's device alone."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device):  # such as the meta device
        return nullcontext()
    return torch.autocast(device, enabled=False)


def mean_over_images(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over what ``mask`` selects in an image, then over the images where it selects anything; else 0.

    What is not selected has no influence and gradient 0, even where it is nan.

    Shape:
        - x, mask (bool): (N, ...), of one shape; output: scalar.

    Example:
        >>> x = torch.tensor([[1., 3.], [8., 9.], [5., 6.]])
        >>> mean_over_images(x, torch.tensor([[True, True], [True, False], [False, False]])).item()
        5.0
    """
    # Mean of each image, (N,); an image without any counts neither above nor below.
    count = mask.flatten(1).sum(1)
    mean = x.masked_fill(~mask, 0).flatten(1).sum(1) / count.clamp(min=1)
    return mean.sum() / (count > 0).sum().clamp(min=1)


def valid_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the places that count, of all images together; 0 if there are none. None: all count."""
    return x.mean() if valid is None else x.masked_fill(~valid, 0).sum() / valid.sum().clamp(min=1)


def masked_median(x: Tensor, mask: Tensor) -> Tensor:
    """Lower median of what ``mask`` selects; nan if that is nothing.

    Example:
        >>> masked_median(torch.tensor([4., 1., 9., 2.]), torch.tensor([True, True, True, False])).item()
        4.0
    """
    # Those not selected go to the end, behind the middle of the others.
    ordered = x.masked_fill(~mask, float('inf')).flatten().sort().values
    middle = ((mask.sum() - 1) // 2).clamp(min=0)
    return ordered.gather(0, middle.view(1)).squeeze(0).masked_fill(~mask.any(), float('nan'))
