"""Words of messages: near names, the first few of many, what a constructor takes."""

import difflib
import inspect
from collections.abc import Iterable, Sequence
from typing import Any


def did_you_mean(name: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> str:
    """A question with the names nearest to one that is not known, with a leading space; '' without any.

    Example:
        >>> did_you_mean('botleneck', ['bottleneck', 'conv_seg'])
        " Did you mean 'bottleneck'?"
    """
    near = difflib.get_close_matches(name, list(known), n=most, cutoff=cutoff)
    return f' Did you mean {" or ".join(map(repr, near))}?' if near else ''


def first_few(items: Sequence[Any], most: int = 4) -> str:
    """The first items, and how many there are in all if that is more.

    Example:
        >>> first_few('abcdef', 2)
        'a, b, ... (6 in all)'
    """
    rest = f', ... ({len(items):,} in all)' if len(items) > most else ''
    return ', '.join(map(str, items[:most])) + rest


def constructor_arguments(cls: type) -> tuple[dict[str, Any], bool]:
    """Names and defaults that a class takes, through its bases as far as ``**kwargs`` passes them on.

    Returns:
        tuple: Defaults by name (``inspect.Parameter.empty`` without one); whether that is all: False where
            the last base still takes ``**kwargs``.
    """
    found: dict[str, Any] = {}
    for base in inspect.getmro(cls):
        if '__init__' not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                found.setdefault(p.name, p.default)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found, True
    return found, False
