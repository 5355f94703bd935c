"""Proof that the distillation losses teach: what they ask for arrives in the student."""

from collections.abc import Iterable

from mmengine.dist import all_reduce
from torch import Tensor

from kd_methods.distill.loss_weights import Unmeasurable, gradient_norm

#: Against rounding to 0 at a float16 tap.
SCALE = 2.0**16


class TeachingProof:
    """Measures each distillation loss until its gradient has arrived in the student once.

    What is measured is the loss as it enters the objective, weights included, at the student's taps that it
    reads: once in a run for a loss that teaches. A loss without a path to the student stops the run at once.
    One whose gradient is exactly 0 may have had nothing to say to a batch (no valid pixel, a margin that is
    met already), and stops it after ``patience`` iterations. Processes decide together.

    Args:
        losses (Iterable[str]): Names of the losses that count.
        patience (int): Iterations in which a loss counts. Defaults to 100.
    """

    def __init__(self, losses: Iterable[str], patience: int = 100) -> None:
        self.patience = patience
        self.open = dict.fromkeys(losses, 0)  # those without a proof, and how often they were 0

    def __call__(self, name: str, loss: Tensor, tensors: list[Tensor], places: str) -> None:
        """Measure a loss at the student's records; ``places`` names them in messages.

        Raises:
            ValueError: It teaches nothing.
        """
        if not tensors:
            raise ValueError(
                f'distill.{name} teaches the student nothing: no gradient can arrive at {places}, which lies '
                'in a frozen stage (frozen_stages, requires_grad), is detached, or lies inside of re-entrant '
                'activation checkpointing (with_cp=True). Tap another place, or change that in the student.'
            )
        try:
            norm = gradient_norm(loss, tensors, SCALE, name)
        except Unmeasurable:  # a loss over several stages, between which the student is checkpointed
            del self.open[name]
            return
        if norm is None:
            raise ValueError(
                f'distill.{name} teaches the student nothing: it does not depend on {places}. Check '
                'loss_forward_mappings (from_student), and whether the loss detaches its input.'
            )
        # A rank without an object in its images must not stop the others.
        found = norm.detach().float().nan_to_num(1.0)
        all_reduce(found, 'max')
        if found > 0:
            del self.open[name]
            return
        self.open[name] += 1
        if self.open[name] >= self.patience:
            raise ValueError(
                f'distill.{name} teaches the student nothing: its gradient at {places} was exactly 0 in the '
                f'first {self.patience} iterations in which it counts. The same tensors on both sides, a '
                'margin that is met already, no valid label, or a weight of 0? `python tools/check.py '
                'CONFIG` shows its value.'
            )
