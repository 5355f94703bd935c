"""Losses of float16 maps under a loss scale, as in mixed precision: no small gradient is rounded to 0."""

import pytest
import torch

from kd_methods.methods.bcd import boundary_loss, context_loss
from kd_methods.methods.c2vkd import patch_loss, pdd_loss
from kd_methods.methods.lix import arfd_loss, dwld_loss
from kd_methods.ops.logits import channel_kl

SCALE = 2.0**16
LABEL = torch.randint(0, 4, (2, 128, 128), generator=torch.Generator().manual_seed(1))
LOSSES = dict(
    dwld=lambda S, T: dwld_loss(S, T, LABEL)[0],
    pdd=lambda S, T: pdd_loss(S, T, LABEL)[0],
    pdd_logits=lambda S, T: pdd_loss(S, T, LABEL, resolution='logits')[0],
    channel_kl=channel_kl,
    patch=patch_loss,
    boundary=lambda S, T: boundary_loss([S], [T])[0],
    context=lambda S, T: context_loss(S, T, tokens=None),
    arfd=lambda S, T: arfd_loss(S, T, max_tokens=256),
)


@pytest.mark.parametrize('name', LOSSES)
def test_gradient_of_float16_maps(name):
    """That of the same numbers in float32, to the precision of float16; unscaled, most of it would be 0."""
    g = torch.Generator().manual_seed(0)
    S, T = torch.randn(2, 2, 4, 32, 32, generator=g).half().unbind()
    # near the teacher, as at the end of a training: each gradient is small
    S = (T.float() + 1e-2 * S.float()).half().detach()
    found = []
    for cast in (torch.Tensor.half, torch.Tensor.float):
        x = cast(S).clone().requires_grad_()
        (SCALE * LOSSES[name](x, cast(T))).backward()
        found.append(x.grad.float() / SCALE)
    low, full = found
    assert full.abs().median() < 6e-5, 'below what float16 can hold with all its digits'
    torch.testing.assert_close(low, full, rtol=2e-3, atol=1e-3 * full.abs().max().item())
