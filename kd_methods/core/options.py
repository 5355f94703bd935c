"""Arguments of losses and distillers, read with errors that say what is possible."""

import inspect
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .weights import LossSchedule

# What a distiller's argument for one of its losses is by default: that loss, with its own defaults. None would be no such loss.
NO_CHANGES: Mapping = MappingProxyType({})


def check_choices(where: str, choices: Mapping[str, Sequence], **given: Any) -> None:
    """Raise unless each option is one of its choices.

    Args:
        where (str): What takes the options, for the message.
        choices (Mapping[str, Sequence]): Possible values by name.
        **given: The options; those without choices are not looked at.

    Raises:
        ValueError: A value is not among its choices.
    """
    for name, value in given.items():
        if name in choices and value not in choices[name]:
            possible = ', '.join(map(repr, choices[name]))
            raise ValueError(f'{where}: {name}={value!r} is not known. Possible: {possible}')


def check_names(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Raise unless each name is known.

    Raises:
        KeyError: One is not; the message lists those that are.
    """
    unknown = sorted(set(given) - known)
    if unknown:
        raise KeyError(f'{where} takes no {unknown}. Possible: {sorted(known)}')


def check_numbers(where: str, above: float | None = None, **given: Any) -> None:
    """Raise unless each value is a finite number, of 0 or more, or above a bound.

    Args:
        where (str): What takes the options, for the message.
        above (float | None): A bound that the values must exceed. Defaults to None: they must be 0 or more.
        **given: The values.

    Raises:
        ValueError: One is not.
    """
    for name, value in given.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (value < 0 if above is None else value <= above):
            bound = 'of 0 or more' if above is None else f'above {above}'
            raise ValueError(f'{where}: {name} must be a number {bound}. Got: {value!r}')


def check_flag(where: str, **given: Any) -> None:
    """Raise unless each value is a bool.

    Raises:
        TypeError: One is not.
    """
    for name, value in given.items():
        if not isinstance(value, bool):
            raise TypeError(f'{where}: {name} must be True or False. Got: {value!r}')


def check_weight(key: str, weight: Any) -> None:
    """Raise unless a loss's weight is a number or one that finds itself.

    Raises:
        TypeError: It is neither.
    """
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not (number or weight == 'auto' or isinstance(weight, Mapping)):
        raise TypeError(f"{key}: the weight must be a number, 'auto' or dict(type='auto', ...). Got: {weight!r}")


def parse_loss(key: str, cfg: Any, loss: type, choices: Mapping[str, Sequence]) -> dict | None:
    """Read a distiller's argument that configures one of its losses.

    Args:
        key (str): Config key of the argument.
        cfg (Any): A dict of the loss's arguments and a ``schedule``, or None for no such loss.
        loss (type): The loss's class.
        choices (Mapping[str, Sequence]): Possible values of its options.

    Returns:
        dict | None: A copy of the dict.

    Raises:
        TypeError: It is neither a dict nor None; its weight or schedule is of another type than it may be.
        KeyError: The loss has no such argument.
        ValueError: An option is not among its choices; its schedule does not fit together.
    """
    if cfg is None:
        return None
    known = {*inspect.signature(loss).parameters, 'schedule'}
    if not isinstance(cfg, Mapping):
        raise TypeError(f'{key}: expected a dict with some of {sorted(known)}, or None. Got: {cfg!r}')
    check_names(f'{key}: {loss.__name__}', cfg, known)
    check_choices(key, choices, **cfg)
    check_weight(f'{key}.loss_weight', cfg.get('loss_weight', 1.0))
    LossSchedule.parse(cfg.get('schedule'), f'{key}.schedule')
    _try_options(key, cfg, loss)
    return dict(cfg)


def _try_options(key: str, cfg: Mapping, loss: type) -> None:
    """Build a loss that needs nothing else, so that what it says of its options comes with the config key."""
    parameters = inspect.signature(loss).parameters.values()
    if any(p.default is p.empty for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD):
        return
    options = {name: value for name, value in cfg.items() if name != 'schedule'}
    if not isinstance(options.get('loss_weight', 1.0), (int, float)):
        del options['loss_weight']  # one that finds itself
    try:
        loss(**options)
    except (TypeError, ValueError) as error:
        raise type(error)(f'{key}: {error}') from error
