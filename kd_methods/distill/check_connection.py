"""Checks of a distiller's wiring before training, with errors that name the config key."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from kd_methods.compat.razor_recording import recorder_kind
from kd_methods.distill.connection import SIDES, Connection, side_of
from kd_methods.distill.labels import COUNTED, LABEL
from kd_methods.networks.probe import Probe, Shape, dry_run_input, eval_mode, format_shape
from kd_methods.networks.recording import INPUTS, OUTPUTS
from kd_methods.networks.taps import check_source
from kd_methods.utils.errors import describe_error


def check_names(connection: Connection) -> None:
    """Check that recorders, mappings, losses and connectors name one another and places that exist."""
    for side in SIDES:
        for name, recorder in connection.razor[side].recorders.items():
            kind = recorder_kind(recorder)
            if kind in (OUTPUTS, INPUTS, 'Parameter'):
                where = f'{connection.key}.{side}_recorders.{name}'
                probe = connection.probes[side]
                firings = check_source(probe, kind, recorder.source, where)
                if probe.error is not None and kind != 'Parameter' and not firings:
                    raise ValueError(f'{where}: {recorder.source!r} could not be tried: {probe.failure}.')
    _check_summed(connection)
    key = f'{connection.key}.loss_forward_mappings'
    unmapped = [name for name in connection.losses.keys() if name not in connection.mappings]
    if unmapped:
        cure = 'Map their arguments, or remove them from distill_losses.'
        raise ValueError(f'{key}: no mapping for {unmapped}, so these losses would never be computed. {cure}')
    for name, mapping in connection.mappings.items():
        if name not in connection.losses:
            known = sorted(connection.losses.keys())
            raise KeyError(f'{key}.{name}: there is no such loss; distill_losses has {known}.')
        _check_arguments(connection.losses[name], mapping, f'{key}.{name}')
        for argument, entry in mapping.items():
            _check_entry(connection, entry, f'{key}.{name}.{argument}')


def _check_summed(connection: Connection) -> None:
    """mmengine sums the values whose names contain "loss", and logs the others."""
    for name in connection.losses.keys():
        if 'loss' not in name:
            why = 'only what has "loss" in its name is part of the objective; this one would teach nothing'
            places = 'distill_losses, loss_forward_mappings and loss_schedules'
            raise ValueError(
                f'{connection.key}.distill_losses.{name}: {why}. Call it loss_{name} in {places}.'
            )


def check_shapes(connection: Connection) -> None:
    """Try every adapter, and every loss without ground truth, on zeros of the shapes of the dry run."""
    key, distiller = connection.key, connection.distiller
    for name, mapping in connection.mappings.items():
        taps = {a: tap for a, tap in connection.taps[name].items() if tap.shape is not None}
        found = {f'{side_of(mapping[a])} {tap.source!r}': format_shape(tap.shape) for a, tap in taps.items()}
        shapes = ', '.join(f'{place} {shape}' for place, shape in found.items())
        shapes += ' (of a dry run on {} x {} pixels)'.format(*connection.probes['student'].size)
        _check_classes(connection, name)
        arguments = {argument: _zeros(tap.shape) for argument, tap in taps.items()}
        for argument, value in arguments.items():
            connector = mapping[argument].get('connector')
            if connector:
                message = f'{key}.connectors.{connector} does not fit the tap it adapts. Shapes: {shapes}'
                adapt = partial(connection.adapt, name, argument, value)
                arguments[argument] = _try(distiller.connectors[connector], adapt, message)
        student = connection.probes['student']
        data = {a: _example(e['from_data'], student) for a, e in mapping.items() if 'from_data' in e}
        arguments.update({argument: value for argument, value in data.items() if value is not None})
        if len(arguments) == len(mapping):
            what = 'cannot be computed from what it is mapped to (adapters included)'
            message = f'{key}.distill_losses.{name} {what}. Shapes of the taps: {shapes}'
            _try(connection.losses[name], partial(connection.compute_from, name, arguments), message)


def _check_arguments(loss: nn.Module, mapping: Mapping, where: str) -> None:
    parameters = inspect.signature(loss.forward).parameters.values()
    takes = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needs = [p.name for p in parameters if p.default is p.empty and p.name in takes]
    free = any(p.kind is p.VAR_KEYWORD for p in parameters)
    extra = [] if free else [argument for argument in mapping if argument not in takes]
    missing = [argument for argument in needs if argument not in mapping]
    if extra or missing:
        problems = [f'takes no {extra}'] * bool(extra) + [f'needs {missing}'] * bool(missing)
        has = f'its arguments are {takes}, mapped are {sorted(mapping)}.'
        raise KeyError(f'{where}: {type(loss).__name__}.forward {" and ".join(problems)}; {has}')


def _check_entry(connection: Connection, entry: Mapping, where: str) -> None:
    if 'from_data' in entry:
        return
    if not isinstance(entry.get('from_student'), bool) or 'recorder' not in entry:
        other = f"or from_data='gt_sem_seg' for ground truth; got {dict(entry)}."
        raise KeyError(f'{where}: give recorder=... and from_student=True or False, {other}')
    side = side_of(entry)
    known = connection.recorder_names(side)
    if entry['recorder'] not in known:
        raise KeyError(f"{where}: no recorder {entry['recorder']!r} among the {side}'s {sorted(known)}.")
    connectors = connection.distiller.connectors
    if entry.get('connector') and entry['connector'] not in connectors:
        raise KeyError(f'{where}: no connector {entry["connector"]!r} among {sorted(connectors.keys())}.')


def _check_classes(connection: Connection, loss: str) -> None:
    classes: dict[str, int] = {}
    for argument, tap in connection.taps[loss].items():
        entry = connection.mappings[loss][argument]
        is_classifier = tap.kind == OUTPUTS and tap.source.endswith('conv_seg') and not entry.get('connector')
        if is_classifier and isinstance(tap.shape, tuple) and len(tap.shape) == 4:
            classes[side_of(entry)] = tap.channels
    if len(set(classes.values())) > 1:
        student = f'{classes["student"]} classes (model.architecture decode_head.num_classes)'
        teacher = f'those of the teacher {classes["teacher"]} (model.teacher decode_head.num_classes)'
        cure = 'Take a teacher of the same classes, or a method on features, which need not agree.'
        where = f'{connection.key}.loss_forward_mappings.{loss}'
        raise ValueError(f'{where}: the logits of the student have {student}, {teacher}. {cure}')


def _zeros(shape: Shape) -> Any:
    if isinstance(shape, tuple):
        return torch.zeros(shape)
    if isinstance(shape, list):
        return [_zeros(item) for item in shape]
    return {key: _zeros(item) for key, item in shape.items()} if isinstance(shape, dict) else None


def _example(name: str, probe: Probe) -> Any:
    """What a batch of one image, as of a dry run, has under a name; None where that cannot be made up."""
    if name == 'inputs':
        return dry_run_input(probe.model, probe.size)
    if name in (LABEL, COUNTED):
        return torch.zeros(1, *probe.size, dtype=torch.long)
    return [probe.size] if name in ('img_shape', 'ori_shape', 'pad_shape') else None


def _try(module: nn.Module, call: Callable, message: str) -> Any:
    """Call a module on dry-run tensors, without a trace in its training state."""
    try:
        with eval_mode(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
            return call()
    except Exception as error:
        raise ValueError(f'{message}. {describe_error(error)}') from error
