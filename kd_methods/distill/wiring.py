"""Between networks and losses: checks of a distiller's wiring before training, and the reading of its
arguments.

Works on MMRazor's ``ConfigurableDistiller`` as well as on this project's
:class:`~kd_methods.distill.distiller.MethodDistiller`."""

import contextlib
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from mmengine.structures import PixelData
from mmrazor.models.distillers import ConfigurableDistiller
from torch import Tensor

from kd_methods.distill.guards import RecordGuard
from kd_methods.networks.probe import Probe, Shape, format_shape, tensors_of
from kd_methods.networks.taps import INPUTS, OUTPUTS, check_source


def check_recorders(distiller: ConfigurableDistiller, student: Probe, teacher: Probe, key: str) -> None:
    """Check that every recorder names an existing place, with the nearest names if not."""
    for side, manager, probe in (
        ('student', distiller.student_recorders, student),
        ('teacher', distiller.teacher_recorders, teacher),
    ):
        for name, recorder in manager.recorders.items():
            kind = recorder_kind(recorder)
            if kind in (OUTPUTS, INPUTS, 'Parameter'):
                check_source(probe, kind, recorder.source, f'{key}.{side}_recorders.{name}')


def check_mappings(distiller: ConfigurableDistiller, key: str) -> None:
    """Check that every loss is mapped, and every argument of a mapped loss comes from somewhere.

    Raises:
        ValueError: A declared loss without mapping.
        KeyError: A mapping of no loss; an argument that the loss does not take; one that it needs and does
            not get; a recorder or connector that does not exist.
    """
    losses, mappings = distiller.distill_losses, distiller.loss_forward_mappings
    unmapped = [name for name in losses.keys() if name not in mappings]
    if unmapped:
        raise ValueError(
            f'{key}.loss_forward_mappings: no mapping for {unmapped}, so these losses would never be '
            'computed. Map their arguments, or remove them from distill_losses.'
        )
    for name, mapping in mappings.items():
        where = f'{key}.loss_forward_mappings.{name}'
        if name not in losses:
            raise KeyError(f'{where}: there is no such loss; distill_losses has {sorted(losses.keys())}.')
        parameters = inspect.signature(losses[name].forward).parameters
        takes = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        needs = [p.name for p in parameters.values() if p.default is p.empty and p.name in takes]
        free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        extra = [] if free else [argument for argument in mapping if argument not in takes]
        missing = [argument for argument in needs if argument not in mapping]
        if extra or missing:
            problem = ' and '.join(
                filter(None, [f'takes no {extra}' if extra else '', f'needs {missing}' if missing else ''])
            )
            raise KeyError(
                f'{where}: {type(losses[name]).__name__}.forward {problem}; its arguments are {takes}, '
                f'mapped are {sorted(mapping)}.'
            )
        for argument, record in mapping.items():
            _check_record(distiller, record, f'{where}.{argument}')


def check_shapes(distiller: ConfigurableDistiller, student: Probe, teacher: Probe, key: str) -> None:
    """Try every adapter, and every loss without ground truth, on zeros of the shapes that the dry run found.

    Raises:
        ValueError: An adapter does not fit its tap, a loss does not take the shapes that it gets, or logits
            differ in their number of classes; the message has the shapes of both networks.
    """
    for name, mapping in distiller.loss_forward_mappings.items():
        found: dict[str, Shape] = {}
        arguments: dict[str, Any] = {}
        for argument, record in mapping.items():
            if 'recorder' not in record:
                continue
            shape = recorded_shape(distiller, record, student, teacher)
            if shape is None:
                continue
            found[_place(distiller, record)] = shape
            arguments[argument] = _zeros(shape)
        shapes = ', '.join(f'{place} {format_shape(shape)}' for place, shape in found.items())
        shapes += ' (of a dry run on an image of model.dry_run_size)'
        _check_classes(distiller, mapping, student, teacher, f'{key}.loss_forward_mappings.{name}')
        for argument, record in mapping.items():
            connector = record.get('connector')
            if connector and argument in arguments:
                arguments[argument] = _try(
                    lambda module, x: module(x),
                    distiller.connectors[connector],
                    arguments[argument],
                    message=f'{key}.connectors.{connector} does not fit the tap it adapts. Shapes: {shapes}',
                )
                if record.get('connector_idx') is not None:
                    arguments[argument] = arguments[argument][record['connector_idx']]
        if len(arguments) == len(mapping):
            _try(
                lambda module, kwargs: module(**kwargs),
                distiller.distill_losses[name],
                arguments,
                message=f'{key}.distill_losses.{name} cannot be computed from what it is mapped to (adapters '
                f'included). Shapes of the taps: {shapes}',
            )


def recorded_shape(distiller: ConfigurableDistiller, record: dict, student: Probe, teacher: Probe) -> Shape:
    """Shape that a mapping's record will have, from the dry run; None if it cannot be known."""
    manager = distiller.student_recorders if record['from_student'] else distiller.teacher_recorders
    probe = student if record['from_student'] else teacher
    recorder = manager.recorders[record['recorder']]
    kind = recorder_kind(recorder)
    calls = probe.firings.get(recorder.source, [])
    index = record.get('record_idx') or 0
    if kind not in (OUTPUTS, INPUTS) or not -len(calls) <= index < len(calls):
        return None
    shape = calls[index].outputs if kind == OUTPUTS else calls[index].inputs
    if record.get('data_idx') is not None and isinstance(shape, list):
        if not -len(shape) <= record['data_idx'] < len(shape):
            raise ValueError(
                f'recorder {record["recorder"]!r}: data_idx={record["data_idx"]} is out of range, '
                f'{recorder.source!r} of the {probe.name} returns {len(shape)} tensors {format_shape(shape)}.'
            )
        shape = shape[record['data_idx']]
    return shape


def last_read_call(
    leaves: Iterable[ConfigurableDistiller], probe: Probe
) -> tuple[tuple[str, int] | None, list[str]]:
    """The last call in the teacher's forward that a recorder reads.

    Returns:
        tuple: Module path and number of calls, None if nothing is read; and what reads something that
            ``mode='tensor'`` does
        not come to or that no dry run can tell.
    """
    last: tuple[int, str, int] | None = None
    beyond = []
    for leaf in leaves:
        beyond += [f'delivery {name!r}' for name in leaf.deliveries.deliveries]
        for name, recorder in leaf.teacher_recorders.recorders.items():
            kind = recorder_kind(recorder)
            if kind == 'Parameter':
                continue
            calls = probe.firings.get(recorder.source, []) if kind in (OUTPUTS, INPUTS) else []
            if not calls:
                beyond.append(f'recorder {name!r} ({kind} of {recorder.source!r})')
            elif last is None or calls[-1].order > last[0]:
                last = (calls[-1].order, recorder.source, len(calls))
    return (last[1:] if last else None), beyond


def guard_records(leaves: Iterable[ConfigurableDistiller], side: str, probe: Probe) -> list[RecordGuard]:
    """Guard each module record of one network; where the dry run saw an in-place change, from the start."""
    guards = []
    for leaf in leaves:
        for recorder in getattr(leaf, f'{side}_recorders').recorders.values():
            kind = recorder_kind(recorder)
            if kind in (OUTPUTS, INPUTS):
                calls = probe.firings.get(recorder.source, [])
                changed = any(c.outputs_changed if kind == OUTPUTS else c.inputs_changed for c in calls)
                guards.append(
                    RecordGuard(probe.model.get_submodule(recorder.source), recorder, kind, protect=changed)
                )
    return guards


def init_adapters(distiller: ConfigurableDistiller) -> None:
    """Initialise connectors and losses, whose plain containers do not pass it on."""
    for module in (*distiller.connectors.values(), *distiller.distill_losses.values()):
        if hasattr(module, 'init_weights'):
            module.init_weights()


def overrides_computation(distiller: ConfigurableDistiller) -> bool:
    """Whether a distiller computes its losses in a way of its own."""
    return type(distiller).compute_distill_losses is not ConfigurableDistiller.compute_distill_losses


def compute_losses(
    distiller: ConfigurableDistiller, names: Iterable[str], data: dict[str, Any]
) -> dict[str, Tensor]:
    """Compute some of a distiller's losses from what its recorders hold and from the batch."""
    results = {}
    for name in names:
        arguments = {
            argument: read_record(distiller, record, data)
            for argument, record in distiller.loss_forward_mappings[name].items()
        }
        results[name] = distiller.distill_losses[name](**arguments)
    return results


def read_record(distiller: ConfigurableDistiller, record: dict, data: dict[str, Any]) -> Any:
    """The value of one mapped argument: a record, adapted if a connector is named, or a part of the batch."""
    if 'from_data' in record:
        return ground_truth(data, record['from_data'])
    try:
        return distiller.get_record(**record)
    except AssertionError as error:
        raise ValueError(
            f'recorder {record["recorder"]!r}: {error}. The tap did not fire as often as the mapping says.'
        ) from error


def student_tensors(distiller: ConfigurableDistiller, name: str) -> list[Tensor]:
    """The student's recorded tensors that a loss reads, before any adapter."""
    tensors = []
    for record in distiller.loss_forward_mappings.get(name, {}).values():
        if record.get('from_student'):
            plain = {
                k: v for k, v in record.items() if k in ('recorder', 'from_student', 'record_idx', 'data_idx')
            }
            tensors += [t for t in tensors_of(distiller.get_record(**plain)) if t.requires_grad]
    return tensors


def ground_truth(data: dict[str, Any], name: str) -> Any:
    """A part of the batch by name: ``inputs``, or a field of its data samples.

    Pixel maps come as one tensor N x H x W (a single channel is dropped) or N x C x H x W, anything else as a
    list."""
    if name == 'inputs':
        return data['inputs']
    samples = data.get('data_samples') or []
    values = []
    for sample in samples:
        if name not in sample:
            raise KeyError(
                f'from_data={name!r}: the data samples of this batch have {sorted(sample.keys())}. Load it '
                'in the training pipeline (LoadAnnotations) and keep it (PackSegInputs / PackDetInputs).'
            )
        values.append(sample.get(name))
    if values and all(isinstance(value, PixelData) for value in values):
        maps = torch.stack([value.data for value in values])
        return maps[:, 0] if maps.dim() == 4 and maps.size(1) == 1 else maps
    return values


def recorder_kind(recorder: Any) -> str:
    """Type of a MMRazor recorder as a config names it, e.g. ``'ModuleOutputs'``."""
    return type(recorder).__name__.replace('Recorder', '')


@contextlib.contextmanager
def recording(*managers: Any):
    """Enter several recorder or delivery managers; all are left again, whatever happens."""
    with contextlib.ExitStack() as stack:
        for manager in managers:
            stack.enter_context(manager)
        yield


def clear_records(distiller: ConfigurableDistiller) -> None:
    """Let go of what was recorded, so that no activation outlives its step."""
    for manager in (distiller.student_recorders, distiller.teacher_recorders):
        for recorder in manager.recorders.values():
            recorder.reset_data_buffer()


def _check_record(distiller: ConfigurableDistiller, record: dict, where: str) -> None:
    if 'from_data' in record:
        return
    if not isinstance(record.get('from_student'), bool) or 'recorder' not in record:
        raise KeyError(
            f"{where}: give recorder=... and from_student=True or False, or from_data='gt_sem_seg' for "
            f'ground truth; got {dict(record)}.'
        )
    side = 'student' if record['from_student'] else 'teacher'
    manager = getattr(distiller, f'{side}_recorders')
    if record['recorder'] not in manager.recorders:
        raise KeyError(
            f"{where}: no recorder {record['recorder']!r} among the {side}'s {sorted(manager.recorders)}."
        )
    connector = record.get('connector')
    if connector and connector not in distiller.connectors:
        raise KeyError(f'{where}: no connector {connector!r} among {sorted(distiller.connectors.keys())}.')


def _check_classes(
    distiller: ConfigurableDistiller, mapping: dict, student: Probe, teacher: Probe, where: str
) -> None:
    channels: dict[bool, int] = {}
    for record in mapping.values():
        if 'recorder' not in record or record.get('connector'):
            continue
        manager = distiller.student_recorders if record['from_student'] else distiller.teacher_recorders
        recorder = manager.recorders[record['recorder']]
        shape = recorded_shape(distiller, record, student, teacher)
        is_classifier = recorder_kind(recorder) == OUTPUTS and recorder.source.endswith('conv_seg')
        if is_classifier and isinstance(shape, tuple) and len(shape) == 4:
            channels[record['from_student']] = shape[1]
    if len(set(channels.values())) > 1:
        raise ValueError(
            f'{where}: the logits of the student have {channels[True]} classes (model.architecture '
            f'decode_head.num_classes), those of the teacher {channels[False]} (model.teacher '
            'decode_head.num_classes). Take a teacher of the same classes, or a method on features, which '
            'need not agree.'
        )


def _place(distiller: ConfigurableDistiller, record: dict) -> str:
    manager = distiller.student_recorders if record['from_student'] else distiller.teacher_recorders
    return f'{"student" if record["from_student"] else "teacher"} {manager.recorders[record["recorder"]].source!r}'


def _zeros(shape: Shape) -> Any:
    if isinstance(shape, tuple):
        return torch.zeros(shape)
    if isinstance(shape, list):
        return [_zeros(item) for item in shape]
    if isinstance(shape, dict):
        return {key: _zeros(item) for key, item in shape.items()}
    return None


def _try(call: Any, module: torch.nn.Module, argument: Any, message: str) -> Any:
    """Call a module on dry-run tensors in eval mode, without a trace in its training state."""
    flags: dict[torch.nn.Module, bool] = {m: m.training for m in module.modules()}
    try:
        module.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return call(module, argument)
    except Exception as error:
        raise ValueError(f'{message}. {type(error).__name__}: {error or "a check failed"}') from error
    finally:
        for m, training in flags.items():
            m.training = training
