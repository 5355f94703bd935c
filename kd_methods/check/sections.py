"""Sections of the report, each from what was measured."""

from typing import Any

from mmengine.model import BaseModel

from kd_methods.check import networks as nets
from kd_methods.check.judge import ratio_of
from kd_methods.check.step import Step
from kd_methods.distill.connection import SIDES
from kd_methods.distill.loss_weights import LossSchedule
from kd_methods.networks.config import reads_weights
from kd_methods.networks.heads import class_count
from kd_methods.networks.probe import format_shape
from kd_methods.utils.report import count, number, pairs, table
from kd_methods.utils.text import first_few


def networks(
    built: dict[str, BaseModel], cfgs: dict[str, Any], size: tuple[int, int], notes: list[str]
) -> str:
    """Types, classes, parameters and FLOPs."""
    rows = []
    for name, network in built.items():
        flops, why = nets.count_flops(nets.plain_network(cfgs[name], f'model ({name})'), size)
        if flops is None:
            notes.append(f'The FLOPs of the {name} could not be counted: {why}')
        classes, parameters = class_count(network) or '-', count(nets.parameter_count(network))
        rows.append((name, nets.describe(network), classes, parameters, count(flops)))
    header = ('', '', 'classes', 'parameters', f'multiply-adds at {size[0]}x{size[1]}')
    return table(rows, header, right=(2, 3, 4))


def teacher(
    model: Any, quality: nets.Quality | None, trusted: bool, wrong: list[str], notes: list[str]
) -> str:
    """Where the teacher's weights come from, where it stops, what it sees, how good it is."""
    frozen = model.teacher
    if model.teacher_ckpt:
        weights = f'{model.teacher_ckpt}: {frozen.load(model.teacher_ckpt, trusted)}'
    elif reads_weights(frozen.model.init_cfg):
        weights = f'init_cfg of the model: {frozen.model.init_cfg["checkpoint"]}'
    else:
        weights = 'none'
        cure = 'so it teaches what random weights say. Train it with its own config and name the file.'
        wrong.append(f'The teacher is not loaded: model.teacher_ckpt is not set, {cure}')
    how, differences = nets.describe_preprocessing(model)
    if differences and not how.startswith('its own'):
        sees = 'the teacher sees another normalisation than in its training'
        notes.append(f"teacher_preprocessor='student': {sees} ({'; '.join(differences)}).")
    rows = [('weights', weights), ('stops', _stop(model)), ('precision', frozen.precision)]
    rows.append(('preprocessing', '\n'.join([how, *differences])))
    if quality is not None:
        text = f'cross-entropy {quality.loss:.3g} (equal probabilities: {quality.chance:.3g}), '
        text += f'pixel accuracy {quality.accuracy:.3f} (always the commonest class: {quality.commonest:.3f})'
        rows.append(('on this batch', text))
    return pairs(rows)


def _stop(model: Any) -> str:
    """Where the teacher's pass ends, and how many calls of layers that saves."""
    places, probe, mode = model.teacher.recorder.places, model.probes[1], model.teacher.mode
    if not model.teacher.recorder.stop:
        return f'never: runs whole, mode={mode!r}'
    read = [(path, call) for (_, path), calls in places.items() for call in calls]
    end, path, call = max((probe.firings[path][call].order, path, call) for path, call in read)
    layers = [name for name in probe.firings if not list(probe.model.get_submodule(name).children())]
    orders = [firing.order for name in layers for firing in probe.firings[name]]
    skipped = sum(order > end for order in orders)
    number = f', call {call + 1}' if call else ''
    return f'after {path}{number} (mode={mode!r}), skipping {skipped} of {len(orders)} layer calls'


def taps(model: Any, step: Step, notes: list[str]) -> str:
    """Places that the losses read."""
    rows = []
    for tap in sorted(step.taps, key=lambda tap: tap.name.split(' = ')[0]):
        shapes = format_shape(tap.dry), format_shape(tap.real)
        if tap.resized is not None:
            shapes = shapes[0], f'{shapes[1]} -> {format_shape(tap.resized)}'
        state = 'protected' if tap.protected else '-'
        rows.append((tap.name, tap.side, tap.place, tap.fires, *shapes, state))
    for connection in model.connections:
        for side in SIDES:
            unread = set(connection.recorder_names(side))
            for loss, mapping in connection.mappings.items():
                unread -= {mapping[argument]['recorder'] for argument in connection.recorded(loss, side)}
            if unread:
                names = ', '.join(repr(connection.name + name) for name in sorted(unread))
                notes.append(f'No loss reads {names} of the {side}.')
    return table(rows, ('', 'network', 'place', 'fires', 'dry run', 'this batch', 'in place'), right=(3,))


def adapters(model: Any, step: Step, wrong: list[str]) -> str:
    """The distiller's own parameters: connectors, and projections inside losses."""
    rows = []
    for name, parameter in model.distiller.named_parameters():
        reached = step.reached.get(f'distiller.{name}')
        if step.error is None and parameter.requires_grad and not reached:
            cure = 'Remove it, or check the mappings.'
            wrong.append(f'distiller.{name} gets no gradient: no loss in use reads it. {cure}')
        state = 'trained' if parameter.requires_grad else 'fixed'
        rows.append((name, format_shape(tuple(parameter.shape)), count(parameter.numel()), state))
    if not rows:
        return 'none'
    rows.append(('sum', '', count(sum(p.numel() for p in model.distiller.parameters())), ''))
    return table(rows, ('', 'shape', 'parameters', ''), right=(2,))


def losses(model: Any, step: Step, notes: list[str]) -> str:
    """Each loss against the task loss at the same tap."""
    weights, rows = model.weights, []
    for loss in step.losses:
        where = ', '.join(loss.places)
        auto = '-' if weights.auto_of(loss.name) is None else number(loss.auto)
        own = number(loss.value), number(weights.base.get(loss.name)), auto
        schedule = _schedule(weights.schedules.get(loss.name))
        norms = number(loss.grad), number(loss.task), number(ratio_of(loss))
        rows.append((loss.name, *own, schedule, where, *norms))
        if loss.grad and loss.task is None:
            text = f'the task loss does not reach {where}, so nothing can be compared there.'
            notes.append(f'{loss.name}: {text}')
    for name, weight in weights.base.items():
        if weight == 0:
            schedule = _schedule(weights.schedules.get(name))
            rows.append((name, 'off', number(weight), '-', schedule, '', '', '', ''))
    header = ('', 'value', 'weight', 'auto', 'schedule', "student's tap", '|grad|', 'task |grad|', 'ratio')
    lines = table(rows, header, right=(1, 2, 3, 6, 7, 8))
    lines += '\n|grad|: norm of the gradient at the tap, weights included, schedule at full strength; '
    lines += 'ratio: to the task loss there'
    statistics = {n: v for n, v in step.logged.items() if n.startswith('distill.') and 'loss' not in n}
    if statistics:
        lines += '\nstatistics: ' + ', '.join(f'{n[8:]} {number(v)}' for n, v in statistics.items())
    return lines


def _schedule(schedule: LossSchedule | None) -> str:
    if schedule is None:
        return 'constant'
    parts = [f'from {schedule.begin}'] if schedule.begin else []
    parts += [f'warm-up {schedule.warmup}'] if schedule.warmup else []
    parts += [f'{schedule.decay} decay'] if schedule.decay != 'none' else []
    parts += [f'until {schedule.end}'] if schedule.end is not None else []
    return ', '.join(parts) or 'constant'


def step(result: Step, notes: list[str]) -> str:
    """What training would log, and how long it took."""
    rows = [(name, number(value)) for name, value in result.logged.items() if 'loss' in name or 'acc' in name]
    unreached = [name for name, reached in result.reached.items() if not reached]
    if result.error is None:
        rows.append(('time', f'{result.seconds:.2f} s (a first step, measurements included)'))
        whole = len(result.reached)
        rows.append(('gradients', f'{whole - len(unreached)} of {whole} trainable tensors'))
        if unreached:
            notes.append(f'No loss depends on {first_few(unreached)}.')
    return pairs(rows)
