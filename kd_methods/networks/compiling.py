"""`torch.compile` of a frozen network's parts, between the places that are read."""

import inspect
import logging
from collections.abc import Collection, Iterator
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from kd_methods.networks.recording import Place


def compile_parts(network: nn.Module, read: Collection[Place] = ()) -> int:
    """Compile the largest modules of a network inside of which nothing is read, in place.

    Hooks stay outside of what is compiled, so records, and a pass that ends at its last record, stay as they
    were. A part that torch cannot compile runs as before from then on, which is logged.

    Args:
        network (nn.Module): In eval mode, without gradients.
        read (Collection[Place]): Places that are recorded. Defaults to none.

    Returns:
        int: How many parts there are.
    """
    paths, count = {path for _, path in read}, 0
    for name, module in _parts(network, '', paths):
        module.forward = _CompiledForward(name, module.forward)
        count += 1
    return count


def _parts(module: nn.Module, prefix: str, read: Collection[str]) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = f'{prefix}{name}'
        inside = any(other.startswith(f'{path}.') for other in read)
        if inside or type(child).forward is nn.Module.forward:  # the latter, such as lists, are never called
            yield from _parts(child, f'{path}.', read)
        elif any(True for _ in child.parameters()):
            yield path, child


class _CompiledForward:
    """A module's forward, compiled at its first call."""

    def __init__(self, name: str, forward: Any) -> None:
        self.name, self.eager = name, forward
        self.__wrapped__ = forward  # who asks for its signature is told that of the module
        # Parts of one class share a forward, of which torch else compiles eight forms in all.
        apart = 'isolate_recompiles' in inspect.signature(torch.compile).parameters
        self.compiled: Any = torch.compile(forward, **dict(isolate_recompiles=True) if apart else {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.compiled is None:
            return self.eager(*args, **kwargs)
        try:
            return self.compiled(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a fault of the network itself comes again below
            self.compiled = None
            why = (
                f'{type(error).__name__}: {str(error).strip().splitlines()[0]}' if str(error) else repr(error)
            )
            what = f'Teacher: {self.name} cannot be compiled here and runs as it is. {why}'
            print_log(what, 'current', logging.WARNING)
            return self.eager(*args, **kwargs)
