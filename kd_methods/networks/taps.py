"""Taps: names of places in a network.

A tap names a place by its role, so that a config needs no knowledge of module paths:

===========================  ==============================================================================
``backbone.2``, ``neck.-1``  an output of the backbone or neck, counted from 0, or from the end
``features``                 the decode head's map right before dropout and classifier
``logits``                   the output of the decode head's classifier, before any resize
``decode_head.bottleneck``   the output of the module at that path; with an index behind it, one of them
``module:neck.0``            a module path, where a role has the same name
===========================  ==============================================================================
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from kd_methods.networks.heads import decode_head
from kd_methods.networks.probe import Firing, Probe, Shape, format_shape
from kd_methods.networks.recording import INPUTS, OUTPUTS, Place, Records
from kd_methods.utils.text import did_you_mean


@dataclass(frozen=True)
class Tap:
    """A resolved place: which module, its inputs or outputs, which call, which of its tensors.

    Attributes:
        name (str): As the config has it.
        kind (str): ``'ModuleOutputs'`` or ``'ModuleInputs'``, MMRazor's recorder types.
        source (str): Module path.
        record_idx (int): Which call of the module.
        data_idx (int | None): Which element of what was recorded; None for the record itself.
        shape (Shape): Shape found in the dry run.
        fires (int): Calls a forward.
    """

    name: str
    kind: str
    source: str
    record_idx: int = 0
    data_idx: int | None = None
    shape: Shape = None
    fires: int = 1

    @property
    def channels(self) -> int:
        """Number of channels of a map N x C x H x W (or N x L x C tokens)."""
        return self.shape[1] if len(self.shape) == 4 else self.shape[-1]

    @property
    def place(self) -> Place:
        """Kind and module path."""
        return self.kind, self.source

    def read(self, records: Records) -> Any:
        """What was recorded here in a forward pass."""
        return records.read(self.place, self.record_idx, self.data_idx)


def resolve_tap(probe: Probe, name: str, key: str = 'distiller') -> Tap:
    """Find the place that a tap names in a network.

    Args:
        probe (Probe): Dry run of the network.
        name (str): The tap.
        key (str): Config key that holds the tap, for messages. Defaults to ``'distiller'``.

    Raises:
        TypeError: The tap is no string.
        KeyError: There is no such place; the message has the nearest names.
        ValueError: The place is no single tensor, never fires, or lies behind a detector's proposals.
    """
    if not isinstance(name, str):
        examples = "'features', 'backbone.2' or a module path"
        raise TypeError(f'{key}: a tap is a string such as {examples}, got {name!r}.')
    if name == 'features':
        return _features(probe, name, key)
    if name == 'logits':
        return _output(probe, name, f'{_decode_head(probe, name, key)}.conv_seg', None, key, last=True)
    modules = dict(probe.model.named_modules())
    if name.startswith('module:'):
        path = name[len('module:') :]
        if path not in modules:
            raise _unknown(probe, path, key)
        return _output(probe, name, path, None, key)
    head, _, tail = name.rpartition('.')
    is_index = tail.lstrip('-').isdigit()
    if is_index and head in ('backbone', 'neck') and head in modules:
        return _output(probe, name, head, int(tail), key)
    if name in modules and name:
        return _output(probe, name, name, None, key)
    if is_index and head in modules:
        return _output(probe, name, head, int(tail), key)
    raise _unknown(probe, name, key)


def check_source(probe: Probe, kind: str, source: str, key: str) -> list[Firing]:
    """Check a MMRazor recorder's ``source``; the firings of that module (empty if it never fires)."""
    if kind == 'Parameter':
        parameters = [name for name, _ in probe.model.named_parameters()]
        if source not in parameters:
            raise KeyError(f'{key}: no parameter {source!r} in the {probe.name}.{_near(source, parameters)}')
        return []
    if source not in dict(probe.model.named_modules()):
        raise _unknown(probe, source, key)
    if source.split('.')[0] == 'roi_head' and hasattr(probe.model, 'roi_head'):
        why = 'teacher and student would look at different boxes there.'
        cure = "Take a tap before them: 'neck.i', 'backbone.i' or a module of rpn_head."
        raise ValueError(f'{key}: {source!r} lies behind the proposals of the {probe.name}: {why} {cure}')
    return probe.firings.get(source, [])


def _output(probe: Probe, name: str, path: str, index: int | None, key: str, last: bool = False) -> Tap:
    calls = check_source(probe, OUTPUTS, path, key)
    if not calls:
        where = f"in the {probe.name} when it runs on an image (mode='tensor')"
        raise ValueError(f'{key}: {name!r} never fires {where}{_why_silent(probe, path)}')
    record_idx = len(calls) - 1 if last else 0
    index, shape = _select(probe, name, calls[record_idx].outputs, index, key)
    return Tap(name, OUTPUTS, path, record_idx, index, shape, len(calls))


def _features(probe: Probe, name: str, key: str) -> Tap:
    head = _decode_head(probe, name, key)
    classifier = check_source(probe, OUTPUTS, f'{head}.conv_seg', key)
    if not classifier:
        why = f'the classifier {head}.conv_seg of the {probe.name} never fires{because(probe)}.'
        raise ValueError(f'{key}: {name!r}: {why}')
    dropouts = probe.firings.get(f'{head}.dropout', [])
    before = [i for i, call in enumerate(dropouts) if call.order < classifier[-1].order]
    if before:
        path, record_idx = f'{head}.dropout', before[-1]
    else:
        path, record_idx = f'{head}.conv_seg', len(classifier) - 1
    calls = probe.firings[path]
    return Tap(name, INPUTS, path, record_idx, 0, calls[record_idx].inputs[0], len(calls))


def _decode_head(probe: Probe, name: str, key: str) -> str:
    """Path of the decode head with a classifier ``conv_seg``; of a cascade, the last one."""
    head, path = decode_head(probe.model), 'decode_head'
    if head is None:
        has = "A detector has 'backbone.i' and 'neck.i'; anything else by module path."
        raise ValueError(
            f"{key}: {name!r} needs a segmentor's decode_head, and the {probe.name} has none. {has}"
        )
    if head is not probe.model.decode_head:
        path = f'decode_head.{len(probe.model.decode_head) - 1}'
    if not isinstance(getattr(head, 'conv_seg', None), nn.Module):
        shapes = {p: calls[0].outputs for p, calls in probe.firings.items() if p.startswith(path + '.')}
        maps = [p for p, shape in shapes.items() if isinstance(shape, tuple) and len(shape) == 4][-8:]
        candidates = ', '.join(f'{p} ({format_shape(shapes[p])})' for p in maps)
        instead = f'name a module of it instead: {candidates or "none returned a map in the dry run"}.'
        what = f'{type(head).__name__} of the {probe.name} has no classifier conv_seg'
        raise ValueError(f'{key}: {what}, so {name!r} is not defined; {instead}')
    return path


def _select(probe: Probe, name: str, shape: Shape, index: int | None, key: str) -> tuple[int | None, Shape]:
    """Check an index against what a module returned; the index to read with, and the tensor's shape."""
    if isinstance(shape, tuple):
        if index in (None, 0, -1):
            return None, shape
        only = f'a single map ({format_shape(shape)}) there, so only index 0 exists.'
        raise ValueError(f'{key}: {name!r}: the {probe.name} returns {only}')
    if isinstance(shape, list) and shape:
        if index is None:
            if len(shape) == 1:
                return 0, shape[0]
            returns = f'{len(shape)} tensors {format_shape(shape)}'
            cure = f'add an index, {name}.0 to {name}.{len(shape) - 1}.'
            raise ValueError(f'{key}: {name!r} of the {probe.name} returns {returns}: {cure}')
        if not -len(shape) <= index < len(shape):
            has = f'the {probe.name} returns {len(shape)} outputs there: {format_shape(shape)}.'
            raise ValueError(f'{key}: {name!r}: index {index} is out of range, {has}')
        if isinstance(shape[index], tuple):
            return index % len(shape), shape[index]
    returns = f'no tensor but {format_shape(shape)}; name a module inside it.'
    raise ValueError(f'{key}: {name!r} of the {probe.name} returns {returns}')


def _unknown(probe: Probe, path: str, key: str) -> KeyError:
    names = ['features', 'logits', *(name for name, _ in probe.model.named_modules() if name)]
    hint = '`python tools/check.py CONFIG --taps` lists the places of both networks.'
    return KeyError(f'{key}: no module {path!r} in the {probe.name}.{_near(path, names)} {hint}')


def _near(name: str, names: list[str]) -> str:
    parts = sorted({n.split('.')[0] for n in names} - {'features', 'logits'})
    return did_you_mean(name, names, cutoff=0.5) or f' Its parts are {parts}.'


def _why_silent(probe: Probe, path: str) -> str:
    """The end of a sentence on a module that the dry run did not come to: cause and cure."""
    if probe.error is not None:
        return f'{because(probe)}.'
    choose = 'Choose a tap of the main path: `python tools/check.py CONFIG --taps` lists its places.'
    if path.split('.')[0] == 'auxiliary_head':
        return f': it is part of an auxiliary head, which runs for the loss alone. {choose}'
    return f', or the network calls it by another way than module(...). {choose}'


def because(probe: Probe) -> str:
    """What ended a dry run, for a message about what it did not find; empty if nothing did."""
    return f' ({probe.failure})' if probe.failure else ''
