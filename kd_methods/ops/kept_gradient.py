"""Losses by hand whose gradient is known with their value."""

from typing import Any

import torch
from torch import Tensor


class KeptGradient(torch.autograd.Function):
    """Base of functions that know the gradient at their first argument when they know the value.

    It is all that is kept, in full precision: of a float16 argument it is rounded after the scale of the loss
    has reached it. Only the first output has a gradient, only the first argument gets one.
    """

    @staticmethod
    def keep(ctx: Any, gradient: Tensor, argument: Tensor) -> None:
        """Keep the gradient at the first argument, which has another shape or type perhaps."""
        ctx.save_for_backward(gradient.reshape(argument.shape))
        ctx.dtype = argument.dtype

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradient, scaled."""
        (gradient,) = ctx.saved_tensors
        return (gradient * grad).to(ctx.dtype), *[None] * (len(ctx.needs_input_grad) - 1)
