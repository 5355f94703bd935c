"""Arguments of losses and distillers, read with errors that say what is possible."""

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kd_methods.distill.loss_weights import LossSchedule
from kd_methods.utils.checks import check_choices, check_names

# What a distiller's argument for one of its losses is by default: that loss, with its own defaults. None
# would be no such loss.
NO_CHANGES: Mapping = MappingProxyType({})


def check_weight(key: str, weight: Any) -> None:
    """Raise unless a loss's weight is a number or one that finds itself.

    Raises:
        TypeError: It is neither.
    """
    number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not (number or weight == 'auto' or isinstance(weight, Mapping)):
        raise TypeError(
            f"{key}: the weight must be a number, 'auto' or dict(type='auto', ...). Got: {weight!r}"
        )


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
