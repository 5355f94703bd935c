"""Taps: names of places in a network.

A tap names a place by its role, so that a config needs no knowledge of module paths:

===========================  ==============================================================================
``backbone.2``, ``neck.-1``  an output of the backbone or neck, counted from 0, or from the end
``features``                 the decode head's map right before dropout and classifier
``logits``                   the output of the decode head's classifier, before any resize
``decode_head.bottleneck``   the output of the module at that path; with an index behind it, one of them
``module:neck.0``            a module path, where a role has the same name
``bbox_head.retina_cls@1``   one call, counted from 0 or from the end, of a module that is called repeatedly
``bbox_head.retina_cls@all`` each of its calls, such as the levels of a detector: a loss is summed over them
===========================  ==============================================================================
"""

from dataclasses import dataclass, replace
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
        record_idx (int | None): Which call of the module; None: all.
        data_idx (int | None): Which element of what was recorded; None for the record itself.
        shape (Shape): Shape found in the dry run; of all calls a list.
        fires (int): Calls a forward.
    """

    name: str
    kind: str
    source: str
    record_idx: int | None = 0
    data_idx: int | None = None
    shape: Shape = None
    fires: int = 1

    @property
    def channels(self) -> int:
        """Number of channels of a map N x C x H x W (or N x L x C tokens)."""
        shape = self.shape[0] if self.record_idx is None else self.shape
        return shape[1] if len(shape) == 4 else shape[-1]

    @property
    def place(self) -> Place:
        """Kind and module path."""
        return self.kind, self.source

    @property
    def place_name(self) -> str:
        """The place in a message: module path, tensor and call, or that it is the module's input."""
        call = '' if self.fires == 1 else f'@{"all" if self.record_idx is None else self.record_idx}'
        index = '' if self.data_idx is None or self.kind == INPUTS else f'[{self.data_idx}]'
        return f'{self.source}{index}{call}' + (' (its input)' if self.kind == INPUTS else '')

    @property
    def calls(self) -> set[int]:
        """Which calls of the module are read."""
        return {*range(self.fires)} if self.record_idx is None else {self.record_idx}

    def each(self) -> list['Tap']:
        """One tap a call, of a tap of all calls."""
        if self.record_idx is not None:
            return [self]
        name = self.name.removesuffix('all')
        return [replace(self, name=f'{name}{i}', record_idx=i, shape=s) for i, s in enumerate(self.shape)]

    def read(self, records: Records) -> Any:
        """What was recorded here in a forward pass; of all calls a list."""
        found = [records.read(self.place, call, self.data_idx) for call in sorted(self.calls)]
        return found if self.record_idx is None else found[0]


def resolve_tap(probe: Probe, name: str, key: str = 'distiller', any_call: bool = False) -> Tap:
    """Find the place that a tap names in a network.

    Args:
        probe (Probe): Dry run of the network.
        name (str): The tap.
        key (str): Config key that holds the tap, for messages. Defaults to ``'distiller'``.
        any_call (bool): Which call of the module is read is said elsewhere. Defaults to False.

    Raises:
        TypeError: The tap is no string.
        KeyError: There is no such place; the message has the nearest names.
        ValueError: The place is no single tensor, never fires, fires several times of which none is chosen,
            or lies behind a detector's proposals.
    """
    if not isinstance(name, str):
        examples = "'features', 'backbone.2' or a module path"
        raise TypeError(f'{key}: a tap is a string such as {examples}, got {name!r}.')
    if name == 'features':
        return _features(probe, name, key)
    if name == 'logits':
        return _output(probe, name, f'{_decode_head(probe, name, key)}.conv_seg', None, key, -1)
    modules = dict(probe.model.named_modules())
    plain, at, call = name.partition('@')
    path = plain.removeprefix('module:')
    head, _, tail = path.rpartition('.')
    is_index = tail.lstrip('-').isdigit() and head in modules and path == plain
    index = None
    if is_index and (head in ('backbone', 'neck') or path not in modules):
        path, index = head, int(tail)
    if not path or path not in modules:
        raise _unknown(probe, path, key)
    if not at:
        return _output(probe, name, path, index, key, 0 if any_call else None)
    if call != 'all' and not call.lstrip('-').isdigit():
        raise ValueError(f'{key}: {name!r}: behind @ stands the number of a call, or all. Got: {call!r}')
    return _output(probe, name, path, index, key, call if call == 'all' else int(call))


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


def _output(
    probe: Probe, name: str, path: str, index: int | None, key: str, call: int | str | None = None
) -> Tap:
    """The tap of a module's output; ``call`` is a number, ``'all'``, or None where there is one alone."""
    calls = check_source(probe, OUTPUTS, path, key)
    if not calls:
        where = f"in the {probe.name} when it runs on an image (mode='tensor')"
        raise ValueError(f'{key}: {name!r} never fires {where}{_why_silent(probe, path)}')
    outputs = [firing.outputs for firing in calls]
    if call is None and len(calls) > 1:
        raise ValueError(f'{key}: {name!r}: {several_calls(probe, path)} {path}@all takes each of them.')
    if call == 'all':
        found = [_select(probe, name, shape, index, key) for shape in outputs]
        if len({data_idx for data_idx, _ in found}) > 1:
            returns = f'returns {format_shape(outputs)} in its calls: add an index behind the path.'
            raise ValueError(f'{key}: {name!r} of the {probe.name} {returns}')
        return Tap(name, OUTPUTS, path, None, found[0][0], [shape for _, shape in found], len(calls))
    if not -len(calls) <= (call or 0) < len(calls):
        has = f'{path!r} of the {probe.name} is called {len(calls)} times in a step (0 to {len(calls) - 1}).'
        raise ValueError(f'{key}: {name!r}: {has}')
    record_idx = (call or 0) % len(calls)
    index, shape = _select(probe, name, outputs[record_idx], index, key)
    return Tap(name, OUTPUTS, path, record_idx, index, shape, len(calls))


def several_calls(probe: Probe, path: str) -> str:
    """Says of a module that it is called several times in a step, and how to choose one of them."""
    calls = probe.firings[path]
    shapes = ', '.join(f'{path}@{i} ({format_shape(call.outputs)})' for i, call in enumerate(calls[:6]))
    more = ', ...' if len(calls) > 6 else ''
    times = f'the {probe.name} calls this module {len(calls)} times in a step'
    return f'{times}, such as a head that levels share. Say which call is meant: {shapes}{more}.'


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
    """Path of the decode head with a classifier ``conv_seg``; of a cascade, the last such one."""
    head, path = decode_head(probe.model), 'decode_head'
    if head is None:
        has = "A detector has 'backbone.i' and 'neck.i'; anything else by module path."
        raise ValueError(
            f"{key}: {name!r} needs a segmentor's decode_head, and the {probe.name} has none. {has}"
        )
    if head is not probe.model.decode_head:  # of PointRend, the head before that of single points
        heads = list(probe.model.decode_head)
        classify = [i for i, h in enumerate(heads) if isinstance(getattr(h, 'conv_seg', None), nn.Module)]
        number = classify[-1] if classify else len(heads) - 1
        head, path = heads[number], f'decode_head.{number}'
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
