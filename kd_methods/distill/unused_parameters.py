"""Give every trainable parameter a gradient at every step.

Distributed training with ``find_unused_parameters=False``, the fast way, waits for a gradient of each
parameter. A parameter may have none at a step: an adapter whose loss is scheduled off, an auxiliary head
while the task loss is not used. It is tied to the objective with a gradient of exactly zero: it stands still
but for weight decay and what is left of momentum, on one process as on many.
"""

import functools
import logging
from collections.abc import Hashable, Iterable
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from kd_methods.networks.checkpoint import STUDENT_PREFIX
from kd_methods.utils.text import first_few


class UnusedParameterTie:
    """Ties the parameters that a step's losses do not reach to one of them.

    Which ones these are is found by a walk over the graph, once for each kind of step.
    """

    def __init__(self) -> None:
        self._unused: dict[Hashable, list[str]] = {}

    @property
    def tied(self) -> set[str]:
        """Names of all parameters that were tied so far."""
        return {name for names in self._unused.values() for name in names}

    def __call__(self, losses: dict[str, Any], module: nn.Module, kind: Hashable) -> dict[str, Any]:
        """Return the losses, one of them tied.

        Args:
            losses (dict): Losses by name, as mmengine sums them up: those with "loss" in their name.
            module (nn.Module): Whose parameters count.
            kind (Hashable): Names the losses in play; steps of one kind reach the same parameters.
        """
        terms = {name: value for name, value in losses.items() if 'loss' in name}
        if kind not in self._unused:
            self._unused[kind] = _unreached(_tensors(terms.values()), module)
        unused = set(self._unused[kind])
        if not unused:
            return losses
        parameters = [p for name, p in module.named_parameters() if name in unused]
        for name, value in terms.items():
            if isinstance(value, Tensor):
                return {**losses, name: _Tie.apply(value, *parameters)}
        return {**losses, 'loss_none': _Tie.apply(parameters[0].new_zeros(()), *parameters)}


class _Tie(torch.autograd.Function):
    """The identity on a value; its other arguments get a gradient of zero, also where they are not finite."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return (grad, *(torch.zeros_like(p) for p in ctx.saved_tensors))


def _unreached(roots: Iterable[Tensor], module: nn.Module) -> list[str]:
    """Names of the trainable parameters without a path from the roots.

    Re-entrant checkpointing hides what is inside of it: that counts as reached.
    """
    seen: set[Any] = set()
    reached: set[int] = set()
    stack = [root.grad_fn for root in roots if root.grad_fn is not None]
    unknown = False
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, 'variable'):
            reached.add(id(node.variable))
        if 'Checkpoint' in type(node).__name__:
            inside = _modules_of(getattr(node, 'run_function', None))
            reached.update(id(p) for part in inside for p in part.parameters())
            unknown |= not inside
        stack += [fn for fn, _ in node.next_functions if fn is not None]
    left = [n for n, p in module.named_parameters() if p.requires_grad and id(p) not in reached]
    own = [name for name in left if name.startswith(STUDENT_PREFIX)]
    if unknown and own:
        why = 'which layers its activation checkpointing holds cannot be seen'
        cure = 'If several processes end with "Expected to have finished reduction", set with_cp=False there'
        what = f'These of its parameters have no gradient, or are checkpointed: {first_few(own)}'
        print_log(f'The student: {why}. {what}. {cure}.', 'current', logging.WARNING)
        return [name for name in left if name not in own]
    return left


def _modules_of(function: Any) -> list[nn.Module]:
    """The modules of a checkpointed function: itself, the object of a method, or what it closes over."""
    if isinstance(function, functools.partial):
        return [module for part in (function.func, *function.args) for module in _modules_of(part)]
    owner = getattr(function, '__self__', None)
    cells = [cell.cell_contents for cell in getattr(function, '__closure__', None) or ()]
    return [part for part in (function, owner, *cells) if isinstance(part, nn.Module)]


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    flat = [t for value in values for t in (value if isinstance(value, (list, tuple)) else [value])]
    return [t for t in flat if isinstance(t, Tensor)]
