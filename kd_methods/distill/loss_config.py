"""Arguments of distillers and their losses, read with errors that say what is possible."""

import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.loss_weights import LossSchedule
from kd_methods.utils.options import NonNegative, Option, check_names, check_options, read_options

#: Default of a distiller's argument for a loss: the loss with its own defaults, where None is no such loss.
NO_CHANGES: Mapping = MappingProxyType({})


def check_weight(key: str, weight: Any) -> None:
    """Raise unless a loss's weight is a finite number of 0 or more, or one that finds itself."""
    if isinstance(weight, (int, float)) and not isinstance(weight, bool):
        Option.read(NonNegative).check(key, 'the weight', weight)
    elif not (weight == 'auto' or isinstance(weight, Mapping)):
        form = "a number, 'auto' or dict(type='auto', ...)"
        raise TypeError(f'{key}: the weight must be {form}. Got: {weight!r}')


def check_unknown(
    distiller: type, unknown: Mapping[str, Any], loss: type | None = None, without: Iterable[str] = ()
) -> None:
    """Raise a KeyError if a distiller was given keywords that it does not take.

    ``loss`` is one whose options it takes too, except those of ``without``.
    """
    known = {n for n, p in inspect.signature(distiller).parameters.items() if p.kind is not p.VAR_KEYWORD}
    if loss is not None:
        known |= {*inspect.signature(loss).parameters} - {*without}
    check_names(f'distiller: {distiller.__name__}', unknown, known)


def parse_loss(key: str, cfg: Any, loss: type) -> dict | None:
    """Read a distiller's argument that configures one of its losses.

    Args:
        key (str): Config key of the argument.
        cfg (Any): A dict of the loss's arguments and a ``schedule``, or None for no such loss.
        loss (type): The loss's class; the types in its signature say what is possible.

    Returns:
        dict | None: A copy of the dict.

    Raises:
        TypeError: It is neither a dict nor None; an argument is of another type than it may be.
        KeyError: The loss has no such argument.
        ValueError: An argument is not among its choices or out of bounds; the schedule does not fit together.
    """
    if cfg is None:
        return None
    parameters = inspect.signature(loss).parameters
    known = {*parameters, 'schedule'}
    if not isinstance(cfg, Mapping):
        raise TypeError(f'{key}: expected a dict with some of {sorted(known)}, or None. Got: {cfg!r}')
    check_names(f'{key}: {loss.__name__}', cfg, known)
    check_weight(f'{key}.loss_weight', cfg.get('loss_weight', 1.0))
    LossSchedule.parse(cfg.get('schedule'), f'{key}.schedule')
    check_options(key, read_options(parameters), {n: v for n, v in cfg.items() if n != 'loss_weight'})
    return dict(cfg)


def parse_losses(distiller: type, **given: tuple[Any, type]) -> list[dict | None]:
    """Read the arguments for all losses of a distiller, of which one or more must be left on.

    Args:
        distiller (type): Its class.
        **given (tuple[Any, type]): Argument and class of each loss by name, for :func:`parse_loss`.
    """
    parsed = [parse_loss(f'distiller.{name}', cfg, loss) for name, (cfg, loss) in given.items()]
    if all(cfg is None for cfg in parsed):
        off = ' and '.join(f'{name}=None' for name in given)
        nothing = f'leave {distiller.__name__} nothing to distil. Give one of them a dict'
        raise ValueError(f'distiller: {off} {nothing}')
    return parsed


def add_parsed(distiller: MethodDistiller, name: str, loss: type, cfg: Mapping, **mapping: dict) -> None:
    """Add a loss of what :func:`parse_loss` gave; see :meth:`MethodDistiller.add_loss`."""
    options = {option: value for option, value in cfg.items() if option != 'schedule'}
    distiller.add_loss(name, dict(options, type=loss.__name__), cfg.get('schedule'), **mapping)
