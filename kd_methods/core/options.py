"""Arguments of losses and distillers, read with errors that say what is possible."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any


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
        TypeError: It is neither a dict nor None.
        KeyError: The loss has no such argument.
        ValueError: An option is not among its choices.
    """
    if cfg is None:
        return None
    known = {*inspect.signature(loss).parameters, 'schedule'}
    if not isinstance(cfg, Mapping):
        raise TypeError(f'{key}: expected a dict with some of {sorted(known)}, or None. Got: {cfg!r}')
    check_names(f'{key}: {loss.__name__}', cfg, known)
    check_choices(key, choices, **cfg)
    return dict(cfg)
