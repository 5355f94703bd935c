"""Files with several sets of weights of one network: which is taken, and in which words that is told."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

#: Parts of names of weights that are averages over the steps of a training.
_AVERAGED = {'ema', 'avg', 'average', 'averaged', 'swa', 'polyak', 'shadow'}
#: What mmengine's and torch's averages count beside their weights.
COUNTERS = ('steps', 'n_averaged')
_KNOWN = ('state_dict', 'model')  # where most files have their weights


def choose_weights(checkpoint: Mapping) -> tuple[Mapping, str]:
    """The weights of a checkpoint, the averaged ones where it has several sets, and the choice in words.

    There are no words where there is one set.

    Args:
        checkpoint (Mapping): What a file holds.
    """
    named = next((name for name in _KNOWN if isinstance(checkpoint.get(name), dict)), None)
    sets = {name: weights for name, value in checkpoint.items() if (weights := _weights(value)) is not None}
    if named is not None:
        sets.setdefault(named, checkpoint[named])
    if not sets or (named is None and any(isinstance(value, Tensor) for value in checkpoint.values())):
        return checkpoint, ''
    base = named or max(sets, key=lambda name: len(sets[name]))
    sets = {name: weights for name, weights in sets.items() if name == base or _same(weights, sets[base])}
    averaged = prefer_averaged(sets)
    if base == 'state_dict' and 'steps' in sets.get('ema_state_dict', ()):
        taken, why = base, "into which mmengine's EMAHook writes the averaged weights"
    elif averaged is not None:
        taken, why = averaged, 'the averaged weights'
    else:
        taken, why = base, 'as no name says that others are averages'
    others = [repr(name) for name in sets if name != taken]
    if not others:
        return sets[taken], ''
    return sets[taken], f'of several sets of weights {taken!r} is taken, {why}, not {", ".join(others)}'


def prefer_averaged(names: Collection[str]) -> str | None:
    """The name of averaged weights among the names of several sets; None where no name says so.

    A ``teacher`` beside a ``student`` is one: the average of the student, as in DINO and in mmdet's
    semi-supervised detectors.
    """
    parts = {name: set(re.split(r'[^a-z]+', str(name).lower())) for name in names}
    pair = any('student' in words for words in parts.values())
    found = (n for n, words in parts.items() if words & _AVERAGED or (pair and 'teacher' in words))
    return next(found, None)


def without_doubles(state: Mapping) -> dict:
    """Weights without a second set among them, ``ema_conv1_weight`` beside ``conv1.weight``.

    mmcv 1 wrote both, and when it saved, the averaged ones were under the plain names.
    """
    doubles = {f'ema_{str(name).replace(".", "_")}' for name in state}
    return {name: value for name, value in state.items() if name not in doubles}


def _weights(value: Any) -> Mapping | None:
    """The weights that a member of a file is, or holds one level below; None where it has none."""
    if not isinstance(value, Mapping):
        return None
    for inner in (value, *(value.get(name) for name in ('module', *_KNOWN))):
        if isinstance(inner, Mapping) and all(isinstance(name, str) for name in inner):
            if sum(isinstance(v, Tensor) for v in inner.values()) > len(inner) / 2:
                return inner
    return None


def _same(weights: Mapping, base: Mapping) -> bool:
    """Whether two sets are of one network: most names and shapes agree."""
    own = {name.removeprefix('module.'): getattr(value, 'shape', None) for name, value in base.items()}
    other = {name.removeprefix('module.'): getattr(value, 'shape', None) for name, value in weights.items()}
    return sum(other.get(name, 0) == shape for name, shape in own.items()) > len(own) / 2
