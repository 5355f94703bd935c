"""Options stated once: the type of a parameter says what is possible, and :func:`checked` checks calls.

.. code-block:: python

    @checked
    def my_loss(x: Tensor, y: Tensor, form: Literal['l1', 'l2'] = 'l2', tau: Positive = 1.0) -> Tensor: ...

    my_loss(x, y, form='l3')  # ValueError: my_loss: form='l3' is not known. Possible: 'l1', 'l2'
    my_loss(x, y, tau='1')  # ValueError: my_loss: tau must be a number above 0. Got: '1'
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

WORDS = {bool: 'True or False', int: 'a whole number', float: 'a number', str: 'a string'}


@dataclass(frozen=True, repr=False)
class Bounds:
    """Bounds of a number, for ``Annotated[float, Bounds(...)]``."""

    low: float
    high: float = math.inf
    open: bool = False  # the value must exceed ``low``

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.open and value == self.low)

    def __repr__(self) -> str:
        if self.open:
            return f'above {self.low}'
        return f'of {self.low} or more' if self.high == math.inf else f'from {self.low} to {self.high}'


NonNegative = Annotated[float, Bounds(0)]
Positive = Annotated[float, Bounds(0, open=True)]
Share = Annotated[float, Bounds(0, 1)]
Count = Annotated[int, Bounds(1)]


@dataclass(frozen=True)
class Option:
    """What an option may be."""

    type: type | None  # ``bool``, ``int``, ``float`` (or an int) or ``str``; None where there are choices
    choices: tuple = ()
    bounds: Bounds | None = None
    optional: bool = False  # it may be None

    @classmethod
    def read(cls, annotation: Any) -> 'Option | None':
        """Read a type; None if it is not that of an option, such as a tensor's."""
        union = get_origin(annotation) in (Union, UnionType)
        kinds = [kind for kind in (get_args(annotation) if union else [annotation]) if kind is not NoneType]
        if len(kinds) != 1:
            return None
        if get_origin(kinds[0]) is Literal:
            return cls(None, get_args(kinds[0]) + (None,) * union, optional=union)
        kind, *notes = get_args(kinds[0]) if get_origin(kinds[0]) is Annotated else kinds
        bounds = next((note for note in notes if isinstance(note, Bounds)), None)
        return cls(kind, bounds=bounds, optional=union) if kind in WORDS else None

    def check(self, where: str, name: str, value: Any) -> None:
        """Raise a ValueError unless a value is possible; a TypeError for bool, str or int without bounds."""
        if self.choices:
            check_choices(where, {name: self.choices}, **{name: value})
        elif not (value is None and self.optional or self._fits(value)):
            error = ValueError if self.bounds or self.type is float else TypeError
            bounds = f' {self.bounds}' if self.bounds else ''
            what = WORDS[self.type] + bounds + ', or None' * self.optional
            raise error(f'{where}: {name} must be {what}. Got: {value!r}')

    def _fits(self, value: Any) -> bool:
        if self.type is bool or isinstance(value, bool):  # a bool is an int to Python, not to us
            return self.type is bool and isinstance(value, bool)
        if self.type is str:
            return isinstance(value, str)
        number = isinstance(value, (int, float) if self.type is float else int) and math.isfinite(value)
        return number and (self.bounds is None or value in self.bounds)


def read_options(parameters: Mapping[str, inspect.Parameter]) -> dict[str, Option]:
    """The options among the parameters of a signature, by name."""
    read = {name: Option.read(p.annotation) for name, p in parameters.items()}
    return {name: option for name, option in read.items() if option}


def check_options(where: str, options: Mapping[str, Option], given: Mapping[str, Any]) -> None:
    """Raise unless each value that is given for an option is possible; see :meth:`Option.check`."""
    for name, option in options.items():
        if name in given:
            option.check(where, name, given[name])


def checked(function: Callable) -> Callable:
    """Check the options of each call. ``function.unchecked`` is for callers that have checked them.

    A constructor's errors begin with the name of its class, a function's with its own.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    options = read_options(parameters)
    names = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        where = type(args[0]).__name__ if function.__name__ == '__init__' else function.__name__
        check_options(where, options, {**dict(zip(names, args)), **kwargs})
        return function(*args, **kwargs)

    call.unchecked = function
    return call


def check_choices(where: str, choices: Mapping[str, Sequence], **given: Any) -> None:
    """Raise a ValueError unless each option is one of its choices; those without choices are passed over."""
    for name, value in given.items():
        if name in choices and value not in choices[name]:
            possible = ', '.join(map(repr, choices[name]))
            raise ValueError(f'{where}: {name}={value!r} is not known. Possible: {possible}')


def check_names(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Raise a KeyError unless each name is known."""
    unknown = sorted(set(given) - known)
    if unknown:
        raise KeyError(f'{where} takes no {unknown}. Possible: {sorted(known)}')
