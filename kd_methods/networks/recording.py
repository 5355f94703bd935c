"""Recording calls of a network's modules: one class for the dry run, the training step and pictures.

A place is a pair: the kind, ``'ModuleOutputs'`` or ``'ModuleInputs'`` (MMRazor's names), and a module path.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

OUTPUTS = 'ModuleOutputs'
INPUTS = 'ModuleInputs'

Place = tuple[str, str]


class StopForward(Exception):  # noqa: N818 - not an error
    """Ends a forward pass: no tap reads the remaining layers."""


@dataclass
class Call:
    """What one call of a module got or returned.

    Attributes:
        order (int): Position among all recorded calls of the pass.
        data (Any): The positional inputs, or what the module returned.
        versions (list[tuple[Tensor, int]]): Its tensors, each with the count of in-place changes until then.
    """

    order: int
    data: Any
    versions: list[tuple[Tensor, int]]

    @property
    def changed(self) -> bool:
        """Whether one of the tensors was changed in place after the call."""
        # torch's count of in-place changes has no public name
        return any(t._version != version for t, version in self.versions)


@dataclass
class Records:
    """What one forward pass recorded: calls by place, each by its number."""

    calls: dict[Place, dict[int, Call]] = field(default_factory=dict)

    def all(self, place: Place) -> list[Any]:
        """What the calls of a place got or returned, in their order."""
        return [call.data for _, call in sorted(self.calls.get(place, {}).items())]

    def laid_out(self) -> 'Records':
        """The same with contiguous tensors: losses that flatten with view() refuse those of channels last."""

        def contiguous(call: Call) -> Call:
            return Call(call.order, map_tensors(call.data, Tensor.contiguous), [])

        return Records(
            {p: {n: contiguous(call) for n, call in calls.items()} for p, calls in self.calls.items()}
        )

    def read(self, place: Place, call: int = 0, index: int | None = None) -> Any:
        """What one call, counted from 0, got or returned, or one element of that."""
        calls = self.calls.get(place, {})
        if call not in calls:
            what = f'{place[1]!r} has no call {call} in this forward pass ({len(calls)} recorded)'
            raise ValueError(f'{what}: it did not fire as often as in the dry run.')
        data = calls[call].data
        return data if index is None else data[index]


class CallRecorder:
    """Records modules of one network while a pass runs inside of ``with recorder as records:``.

    The hooks are registered once and are methods of this object, not closures: a deep copy of the network
    (EMA makes one) has hooks and a recorder apart from these.

    Args:
        network (nn.Module): The network.
        places (Mapping[Place, Collection[int] | None]): Which calls of which places are kept; None: all.
        name (str): The network in messages. Defaults to ``'network'``.
        stop (bool): End the pass once all calls are there; never where all are kept. Defaults to False.
        clone (Collection[Place]): Places whose tensors a later layer changes in place: the rest of the
            network gets a clone, with gradients, and the record stays as it was. Defaults to none.
        strict (bool): Refuse a record that was changed in place all the same. Defaults to True.
    """

    def __init__(
        self,
        network: nn.Module,
        places: Mapping[Place, Collection[int] | None],
        name: str = 'network',
        stop: bool = False,
        clone: Collection[Place] = (),
        strict: bool = True,
    ) -> None:
        self.places = {place: None if calls is None else frozenset(calls) for place, calls in places.items()}
        self.name, self.stop, self.clone, self.strict = name, stop, frozenset(clone), strict
        self._records: Records | None = None
        self._counts: Counter = Counter()
        self._order = 0
        self._handles = [self._watch(network, place) for place in self.places]

    def __enter__(self) -> Records:
        self._records, self._counts, self._order = Records(), Counter(), 0
        return self._records

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        records, self._records = self._records, None
        if self.strict and kind in (None, StopForward):
            self._refuse_changed(records)
        return kind is StopForward

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def _watch(self, network: nn.Module, place: Place) -> Any:
        module = network.get_submodule(place[1])
        if place[0] == INPUTS:
            return module.register_forward_pre_hook(partial(self._before, place))
        return module.register_forward_hook(partial(self._after, place))

    def _before(self, place: Place, module: nn.Module, inputs: tuple) -> Any:
        return self._note(place, inputs)

    def _after(self, place: Place, module: nn.Module, inputs: tuple, outputs: Any) -> Any:
        return self._note(place, outputs)

    def _note(self, place: Place, data: Any) -> Any:
        if self._records is None:
            return None
        number, wanted = self._counts[place], self.places[place]
        self._counts[place] += 1
        if wanted is not None and number not in wanted:
            return None
        versions = [(t, t._version) for t in tensors_of(data)]  # torch's name, as above
        self._records.calls.setdefault(place, {})[number] = Call(self._order, data, versions)
        self._order += 1
        if self.stop and not any(self._missing()):
            raise StopForward
        return map_tensors(data, Tensor.clone) if place in self.clone else None

    def _missing(self) -> Iterator[Place]:
        """Places whose wanted calls have not all come yet."""
        for place, wanted in self.places.items():
            if wanted is None or len(self._records.calls.get(place, {})) < len(wanted):
                yield place

    def _refuse_changed(self, records: Records) -> None:
        for (kind, path), calls in records.calls.items():
            if (kind, path) not in self.clone and any(call.changed for call in calls.values()):
                what = 'gets' if kind == INPUTS else 'returns'
                why = 'is changed in place by a later layer, which the dry run (in eval mode) did not see.'
                cure = 'Set inplace=False in the layer after it, or tap another place.'
                raise ValueError(f'The tensor that {path!r} of the {self.name} {what} {why} {cure}')


def tensors_of(data: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(data, Tensor):
        return [data]
    if isinstance(data, dict):
        data = list(data.values())
    return [t for item in data for t in tensors_of(item)] if isinstance(data, (list, tuple)) else []


def map_tensors(data: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested tuples, lists and dicts with their tensors changed."""
    if isinstance(data, Tensor):
        return change(data)
    if isinstance(data, tuple) and hasattr(data, '_fields'):
        return type(data)(*(map_tensors(item, change) for item in data))
    if isinstance(data, (list, tuple)):
        return type(data)(map_tensors(item, change) for item in data)
    if isinstance(data, dict):
        return {key: map_tensors(item, change) for key, item in data.items()}
    return data
