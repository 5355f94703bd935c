"""What is wrong with a step: rules that turn measurements into sentences."""

import math

from kd_methods.check.networks import Quality
from kd_methods.check.step import LossUse, Step
from kd_methods.distill.loss_weights import LossWeights
from kd_methods.utils.errors import describe_error

#: Gradient norm of a loss relative to the task's at the same tap: outside this, one of them trains alone.
RATIO_RANGE = (1e-3, 10.0)


def judge_labels(largest: int | None, classes: dict[str, int | None]) -> list[str]:
    """Compare the labels of the batch with the classes of networks and dataset (by name)."""
    if largest is None:
        check = 'Check the annotations and the pipeline (LoadAnnotations, ignore_index, reduce_zero_label).'
        return [f'The batch has no labels: no pixel or object has a class. {check}']
    up_to = f'The labels of the batch go up to {largest}, but the'
    check = 'Check num_classes and the labels (reduce_zero_label, ignore_index).'
    few = {name: n for name, n in classes.items() if n is not None and largest >= n}
    return [f'{up_to} {name} has {n} classes (0 to {n - 1}). {check}' for name, n in few.items()]


def judge_quality(quality: Quality | None) -> list[str]:
    """Say so where the teacher knows nothing of this data."""
    if quality is None or quality.loss <= quality.chance:
        return []
    found = f'its cross-entropy on the batch is {quality.loss:.3g}'
    chance = f'equal probabilities for all classes would give {quality.chance:.3g}'
    why = '(labels? channel order? normalisation?)'
    return [f'The teacher looks untrained on this data {why}: {found}, {chance}.']


def judge_losses(step: Step, weights: LossWeights, iterations: int | None = None) -> list[str]:
    """Losses that are 0, not finite, without a gradient, out of proportion, or off in all iterations."""
    if not any(weights.base.values()):
        return ['Every distillation loss has loss_weight 0: nothing is distilled, the teacher is never run.']
    never = weights.never(iterations) if iterations else ''
    found = [message for loss in step.losses if (message := _judge(loss, weights))]
    return found + ([never] if never else [])


def ratio_of(loss: LossUse) -> float | None:
    """Gradient norm of a weighted loss relative to the task's at the same tap."""
    return loss.grad / loss.task if loss.grad is not None and loss.task else None


def _judge(loss: LossUse, weights: LossWeights) -> str:
    where = ', '.join(loss.places) or 'its tap'
    if not math.isfinite(loss.value):
        check = 'Check its inputs: temperature, norms, logarithms, labels.'
        return f'{loss.name} is {loss.value} on this batch. {check}'
    if loss.frozen:
        frozen = 'are frozen (frozen_stages, requires_grad, student_trainable=False) or detached'
        if loss.with_cp:
            frozen += ', or lie inside of activation checkpointing (with_cp=True): set it to False'
        why = f'so this loss cannot teach it anything: the layers up to there {frozen}'
        return f'{loss.name}: {where} of the student needs no gradient, {why}.'
    if loss.alone and not loss.grad and not (loss.auto is not None and loss.task == 0):
        why = 'the objective that the optimizer gets does not depend on it, so it teaches nothing'
        return f'{loss.name} is {loss.value:.3g} and no part of the training: {why}.'
    if loss.grad is None:
        check = 'Check loss_forward_mappings (from_student) and whether the loss detaches its input.'
        return f'{loss.name} has no gradient at {where} of the student: it does not depend on it. {check}'
    if not math.isfinite(loss.grad):
        check = 'Check the loss where its inputs are equal or 0.'
        return f'{loss.name}: its gradient at {where} is {loss.grad}. {check}'
    if loss.task == 0 and loss.auto is not None:
        why = f'since the task loss has no gradient at {where}. Give a number.'
        return f"{loss.name}: loss_weight='auto' finds 0, {why}"
    if loss.value == 0:
        why = 'Same tensors on both sides, a margin that is met already, or no valid label?'
        return f'{loss.name} is exactly 0 on this batch: it teaches nothing. {why}'
    if loss.grad == 0:
        value = f'{loss.name} is {loss.value:.3g}'
        return f'{value}, but its gradient at {where} is exactly 0: it teaches the student nothing.'
    ratio = ratio_of(loss)
    if ratio is not None and not RATIO_RANGE[0] <= ratio <= RATIO_RANGE[1]:
        effect = 'it hardly has an effect' if ratio < 1 else 'the task hardly counts'
        found = f"its gradient at {where} is {ratio:.3g} times the task loss's, so {effect}"
        fitting = weights.base[loss.name] * 0.3 / ratio if weights.base.get(loss.name) else None
        hint = f', or about {fitting:.2g} for a ratio of 0.3' if fitting else ''
        return f"{loss.name} is out of proportion: {found}. Set its loss_weight='auto'{hint}."
    return ''


def judge_step(step: Step) -> list[str]:
    """A step that failed, or whose objective is not finite."""
    if step.error is not None:
        return [f'The training step fails with {describe_error(step.error, 10_000)} (KD_DEBUG=1 shows where)']
    bad = {name: value for name, value in step.logged.items() if 'loss' in name and not math.isfinite(value)}
    return [f'The training step gives {bad}: not finite.'] if bad else []
