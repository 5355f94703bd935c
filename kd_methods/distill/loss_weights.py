"""How much each distillation loss counts at an iteration: schedules and weights that find themselves."""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Union

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor, nn


class Unmeasurable(ValueError):
    """Gradients cannot be measured here."""


DECAYS = ('none', 'linear', 'cosine')


@dataclass(frozen=True)
class LossSchedule:
    """Factor of a loss over the iterations of training.

    Args:
        begin (int): First iteration with the loss. Defaults to 0.
        warmup (int): Iterations over which the factor rises linearly from 0 to 1. Defaults to 0.
        end (int | None): First iteration without the loss; None for never. Defaults to None.
        decay (str): ``'none'``, ``'linear'`` or ``'cosine'``, from 1 to 0 at ``end``. Defaults to ``'none'``.
        decay_begin (int | None): First iteration of the decay. Defaults to the end of the warm-up.
    """

    begin: int = 0
    warmup: int = 0
    end: int | None = None
    decay: str = 'none'
    decay_begin: int | None = None

    @classmethod
    def parse(cls, cfg: Union[None, Mapping, 'LossSchedule'], key: str) -> 'LossSchedule':
        """Read a schedule from a config, with errors that name ``key``."""
        if cfg is None or isinstance(cfg, cls):
            return cfg or cls()
        known = [f.name for f in fields(cls)]
        if not isinstance(cfg, Mapping):
            raise TypeError(f'{key}: a schedule is a dict with some of {known}, got {cfg!r}.')
        unknown = sorted(set(cfg) - set(known))
        if unknown:
            raise KeyError(f'{key}: a schedule has no {unknown}; it takes {known}.')
        schedule = cls(**cfg)
        problem = schedule.problem()
        if problem:
            raise ValueError(f'{key}{problem}')
        return schedule

    def problem(self) -> str:
        """What does not fit together, as the end of a sentence that begins with the config key; '' if all
        does.
        """
        for name in ('begin', 'warmup', 'end', 'decay_begin'):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                return f'.{name} must be a whole number of iterations. Got: {value!r}'
        if self.begin is None or self.warmup is None:
            return f': begin and warmup must be whole numbers of iterations. Got: {self}'
        top = self.begin + self.warmup
        if self.decay not in DECAYS:
            return f'.decay: {self.decay!r} is none of {list(DECAYS)}.'
        if self.decay != 'none' and self.end is None:
            return f'.decay={self.decay!r} needs `end`, the iteration at which the loss is gone.'
        if self.begin < 0 or self.warmup < 0:
            return f': begin and warmup count iterations and cannot be negative, got {self}.'
        if self.end is not None and self.end < top:
            return f': end={self.end} lies before begin + warmup = {top}.'
        if self.decay_begin is not None and self.decay == 'none':
            return f".decay_begin={self.decay_begin} has no effect without decay='linear' or 'cosine'."
        if self.decay_begin is not None and not top <= self.decay_begin < self.end:
            allowed = f'from the end of the warm-up, {top}, to before end={self.end}'
            return f'.decay_begin={self.decay_begin} has to lie {allowed}.'
        return ''

    def counts_within(self, iterations: int) -> bool:
        """Whether the factor is above 0 anywhere in a run of so many iterations."""
        return self.begin < (iterations if self.end is None else min(iterations, self.end))

    def factor(self, step: int) -> float:
        """The factor at an iteration, counted from 0."""
        if step < self.begin or (self.end is not None and step >= self.end):
            return 0.0
        if step < self.begin + self.warmup:
            return (step - self.begin + 1) / (self.warmup + 1)
        start = self.begin + self.warmup if self.decay_begin is None else self.decay_begin
        if self.decay == 'none' or step < start:
            return 1.0
        left = (self.end - step) / max(self.end - start, 1)
        return left if self.decay == 'linear' else 0.5 * (1 - math.cos(math.pi * left))


class AutoWeight(nn.Module):
    r"""A weight that is found over the first iterations, and then fixed.

    .. math:: w = r \cdot \frac{\sum_i \lVert \partial L_{task} / \partial F_i \rVert}
                               {\sum_i \lVert \partial L / \partial F_i \rVert}

    with :math:`F_i` the student's tap at iteration :math:`i`; while it is being found, the running value is
    used. The scale of the loss cancels out, and losses that differ by orders of magnitude start from a
    comparable influence. Norms are averaged over processes, so that all of them use one weight.

    Args:
        ratio (float): Gradient norm of the loss relative to the task's, :math:`r`. Defaults to 0.3.
        iters (int): Iterations over which it is found. Defaults to 100.
    """

    def __init__(self, ratio: float = 0.3, iters: int = 100) -> None:
        super().__init__()
        if not 0 < ratio < math.inf or iters < 1 or iters != int(iters):
            problem = f'ratio must be > 0 and iters >= 1, got {ratio}, {iters}.'
            raise ValueError(f"loss_weight=dict(type='auto', ...): {problem}")
        self.ratio, self.iters, self.count = ratio, iters, 0
        self.register_buffer('norms', torch.zeros(2))  # of the task, of the loss
        # Gradients of a mean over pixels would be rounded to 0 at a float16 tap.
        self.register_buffer('scales', torch.full((2,), 2.0**16))
        self.register_buffer('measured', torch.zeros((), dtype=torch.long))

    @staticmethod
    def parse(weight: Any, key: str) -> 'dict | None':
        """Arguments of an ``AutoWeight`` from ``'auto'`` or its dict; None for a weight that is given."""
        if not isinstance(weight, (str, Mapping)):
            return None
        if isinstance(weight, str) and weight != 'auto':
            raise ValueError(f"{key}: {weight!r} is neither a number nor 'auto'.")
        given = dict(weight) if isinstance(weight, Mapping) else dict(type=weight)
        options = {name: value for name, value in given.items() if name != 'type'}
        numbers = all(type(value) in (int, float) for value in options.values())
        if given.get('type') != 'auto' or not set(options) <= {'ratio', 'iters'} or not numbers:
            form = "a number, 'auto' or dict(type='auto', ratio=0.3, iters=100)"
            raise ValueError(f'{key}: expected {form}, got {weight!r}.')
        return options

    @property
    def found(self) -> bool:
        """Whether the weight is fixed."""
        return self.count >= self.iters

    def weight(self) -> Tensor:
        """The current weight, on the device of the networks."""
        task, loss = self.norms
        ratio = self.ratio * task / loss.clamp_min(torch.finfo(loss.dtype).tiny)
        return torch.where(loss > 0, ratio, 0.0).float()

    def measure(self, task_loss: Tensor, loss: Tensor, taps: list[Tensor], name: str) -> None:
        """Add the gradient norms of one iteration at the student's taps."""
        norms = torch.zeros_like(self.norms)
        for i, (value, what) in enumerate(((task_loss, 'the task loss'), (loss, 'this loss'))):
            norm = gradient_norm(value, taps, self.scales[i], name)
            if norm is None:
                why = f"there is no path from {what} to the student's taps, so there is nothing to compare"
                raise ValueError(f"{name}: loss_weight='auto': {why}. Tap another place, or give a number.")
            norms[i] = norm
        all_reduce(norms, op='mean')
        finite = torch.isfinite(norms)
        # Too large for the tap's precision: less from the next iteration on.
        self.scales *= torch.where(finite, 1.0, 2.0**-8)
        self.norms += torch.where(finite.all(), norms, 0.0)
        self.measured += 1
        self.count += 1
        if self.found:  # the one host sync, once a run
            value = float(self.weight())
            how = f'after {self.iters} iterations (gradient ratio {self.ratio})'
            print_log(f'{name}: auto weight fixed at {value:.6g} {how}', 'current')
            if value == 0:
                whose = 'this loss' if self.norms[1] == 0 else 'the task loss'
                message = f'the gradient of {whose} at the tap was 0 in all of them: no effect.'
                print_log(f'{name}: {message}', 'current', logging.WARNING)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.count = int(self.measured)


class LossWeights(nn.Module):
    """Scales of all distillation losses of a run; its state is part of the checkpoint.

    Args:
        base (dict[str, float]): Each loss's own fixed weight, by name; a loss with weight 0 never runs.
        schedules (dict[str, LossSchedule]): By loss name.
        auto (dict[str, AutoWeight]): By loss name.
    """

    def __init__(
        self, base: dict[str, float], schedules: dict[str, LossSchedule], auto: dict[str, AutoWeight]
    ) -> None:
        super().__init__()
        self.base, self.schedules = base, schedules
        self.auto = nn.ModuleDict({_key(name): module for name, module in auto.items()})
        self.step = 0
        self._full = False  # schedules at full strength
        # Counted on the host: reading from the device would stall every step. The buffer is for resume.
        self.register_buffer('iteration', torch.zeros((), dtype=torch.long))

    def active(self) -> list[str]:
        """Names of the losses that count at this iteration."""
        return [name for name, weight in self.base.items() if weight != 0 and self.factor(name) != 0]

    def idle(self) -> list[str]:
        """Names of the losses that a schedule has off at this iteration."""
        return [name for name in self.schedules if self.base[name] != 0 and self.factor(name) == 0]

    def factor(self, name: str) -> float:
        """Factor of the schedule at this iteration."""
        scheduled = name in self.schedules and not self._full
        return self.schedules[name].factor(self.step) if scheduled else 1.0

    @contextlib.contextmanager
    def full_strength(self) -> Iterator[None]:
        """All schedules at 1, for measurements."""
        self._full = True
        try:
            yield
        finally:
            self._full = False

    def never(self, iterations: int) -> str:
        """A sentence on the losses whose schedules leave them out of a run of so many iterations; or ''."""
        weighted = [(n, s) for n, s in self.schedules.items() if self.base[n] != 0]
        idle = [
            f'{name} (begin={s.begin}, end={s.end})'
            for name, s in weighted
            if not s.counts_within(iterations)
        ]
        if not idle:
            return ''
        why = f'never in the {iterations:,} iterations of this run, so it teaches nothing'
        return (
            f"The schedule of {', '.join(idle)} counts {why}. Change its begin and end, or the run's length."
        )

    def auto_of(self, name: str) -> AutoWeight | None:
        """The weight of a loss that finds itself; None for a loss with a number."""
        key = _key(name)
        return self.auto[key] if key in self.auto else None

    def scale(
        self, name: str, loss: Tensor, task_loss: Tensor | None, taps: list[Tensor]
    ) -> dict[str, Tensor]:
        """Scale one loss; the result also has the weight in use, to be logged, where it is not constant."""
        factor = self.factor(name)
        out = {}
        auto = self.auto_of(name)
        if auto is not None:
            if not auto.found and loss.requires_grad and task_loss is not None:
                auto.measure(task_loss, loss, taps, name)
            weight = auto.weight()
            out[statistic_name(name, 'weight')] = weight * factor
            loss = loss * weight
        if name in self.schedules:
            out.setdefault(statistic_name(name, 'weight'), loss.new_full((), factor, dtype=torch.float32))
            loss = loss * factor
        return {name: loss, **out}

    @property
    def settled(self) -> bool:
        """Whether all weights that find themselves are found."""
        return all(auto.found for auto in self.auto.values())

    def advance(self) -> None:
        """Count one iteration."""
        self.step += 1
        self.iteration += 1

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.step = int(self.iteration)


def statistic_name(loss: str, statistic: str) -> str:
    """Name of a logged figure, without "loss", as mmengine would add that to the objective."""
    return f'{loss.replace("loss_", "").replace("loss", "")}_{statistic}'.strip('_')


def fixed_weight(loss: nn.Module) -> float:
    """A loss's own fixed weight, under the name that MMRazor's losses and this project's use."""
    weight = getattr(loss, 'loss_weight', 1.0)
    return float(weight) if isinstance(weight, (int, float)) else 1.0


def split_auto_weight(weight: Any, count: int, key: str = 'loss_weight') -> Any:
    """The weight of one of ``count`` losses: one that finds itself gets its part of the ratio."""
    options = AutoWeight.parse(weight, key)
    if options is None:
        return weight
    return dict(options, type='auto', ratio=options.get('ratio', AutoWeight().ratio) / count)


def sum_losses(losses: dict[str, Any]) -> Tensor:
    """The task's objective, as mmengine sums it up."""
    terms = [value for name, value in losses.items() if 'loss' in name]
    return sum(v.mean() if isinstance(v, Tensor) else sum(t.mean() for t in v) for v in terms)


def gradient_norm(
    loss: Tensor | None, tensors: list[Tensor], scale: Tensor | float = 1.0, name: str = 'the loss'
) -> Tensor | None:
    """Norm of a loss's gradient at some tensors; None where none of them leads to it.

    ``scale`` multiplies gradients on their way back, against rounding to 0 in float16; ``name`` is the loss's
    in messages.
    """
    if loss is None or not loss.requires_grad or not tensors:
        return None
    try:
        grads = torch.autograd.grad(loss.float() * scale, tensors, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if 'checkpoint' not in str(error).lower():
            raise
        what = 'cannot measure gradients through activation checkpointing that is re-entrant'
        cure = 'Set with_cp=False in the student, tap a later place, or give a number.'
        raise Unmeasurable(f"{name}: loss_weight='auto' {what}. {cure}") from error
    squares = [g.detach().float().pow(2).sum() for g in grads if g is not None]
    return torch.stack(squares).sum().sqrt() / scale if squares else None


def _key(name: str) -> str:
    return name.replace('.', '/')  # module names hold no dots
