"""Checks of options, with sentences that say what is possible."""

import math
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
