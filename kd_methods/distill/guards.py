"""Hooks on tapped modules: stop the teacher after its last tap, and keep records safe from in-place
operations.

The hooks are methods of objects, not closures: a deep copy of a network (EMA makes one) then carries its own.
"""

from typing import Any

from torch import Tensor, nn

from kd_methods.networks.probe import tensors_of
from kd_methods.networks.taps import INPUTS


class StopForward(Exception):  # noqa: N818 - not an error
    """Ends a forward pass whose remaining layers nobody reads."""


class EarlyStop:
    """Ends the forward pass at the last call of a module.

    Args:
        module (nn.Module): The module of the last tap.
        calls (int): How often it is called in a forward.
    """

    def __init__(self, module: nn.Module, calls: int) -> None:
        self.calls = calls
        self.armed = False
        self.count = 0
        module.register_forward_hook(self.after)

    def __enter__(self) -> None:
        self.armed, self.count = True, 0

    def __exit__(self, *exc: Any) -> bool:
        self.armed = False
        return exc[0] is StopForward

    def after(self, module: nn.Module, inputs: tuple, outputs: Any) -> None:
        if self.armed:
            self.count += 1
            if self.count == self.calls:
                raise StopForward


class RecordGuard:
    """Sees to it that a recorder holds what its module got or returned, although a later layer works in
    place.

    Tensor versions tell whether a record was changed after it was made. Where that happens, the rest of the
    network is given a clone instead, so that the recorded tensor stays as it was and gradients still flow
    through it.

    Args:
        module (nn.Module): Tapped module; the recorder's own hook must be registered already.
        recorder: MMRazor module recorder of its inputs or outputs.
        kind (str): ``'ModuleOutputs'`` or ``'ModuleInputs'``.
        protect (bool): Hand out clones from the start, because the dry run saw an in-place operation.
    """

    def __init__(self, module: nn.Module, recorder: Any, kind: str, protect: bool = False) -> None:
        self.recorder = recorder
        self.inputs = kind == INPUTS
        self.protect = protect
        self.seen: list[tuple[Tensor, int]] = []
        self.pending: list[tuple] = []
        if self.inputs:
            module.register_forward_pre_hook(self.before)
        module.register_forward_hook(self.after)

    def before(self, module: nn.Module, inputs: tuple) -> tuple | None:
        if not self.recorder.recording:
            return None
        self._watch(inputs)
        self.pending.append(inputs)
        return _clone(inputs) if self.protect else None

    def after(self, module: nn.Module, inputs: tuple, outputs: Any) -> Any:
        if not self.recorder.recording:
            return None
        if self.inputs:
            self.recorder.data_buffer[-1] = self.pending.pop()
            return None
        self._watch(outputs)
        return _clone(outputs) if self.protect else None

    def changed(self) -> bool:
        """Whether a record of the last forward was changed in place; forgets that forward."""
        changed = any(tensor._version != version for tensor, version in self.seen)
        self.seen.clear()
        self.pending.clear()
        return changed

    def _watch(self, data: Any) -> None:
        self.seen += [(tensor, tensor._version) for tensor in tensors_of(data)]


def _clone(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.clone()
    if isinstance(data, tuple) and hasattr(data, '_fields'):
        return type(data)(*(_clone(item) for item in data))
    if isinstance(data, (list, tuple)):
        return type(data)(_clone(item) for item in data)
    if isinstance(data, dict):
        return {key: _clone(item) for key, item in data.items()}
    return data
