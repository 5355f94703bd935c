"""Each rule names what it is about, and leaves a healthy loss alone."""

import math

import pytest

from kd_methods.check import judge
from kd_methods.check.networks import Quality
from kd_methods.check.step import LossUse, Step
from kd_methods.distill.loss_weights import AutoWeight, LossSchedule, LossWeights


def loss(**changes) -> LossUse:
    return LossUse(
        **dict(dict(name='loss_x', value=1.0, places=['neck'], grad=0.3, task=1.0, frozen=False), **changes)
    )


def weights(auto: bool = False) -> LossWeights:
    return LossWeights(dict(loss_x=2.0), {}, dict(loss_x=AutoWeight(ratio=0.5)) if auto else {})


def test_a_healthy_loss_is_left_alone():
    assert judge.judge_losses(Step(losses=[loss()]), weights()) == []
    assert judge.ratio_of(loss()) == pytest.approx(0.3)


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(value=math.nan), 'loss_x is nan'),
        (dict(value=0.0, grad=0.0), 'exactly 0 on this batch'),
        (dict(grad=None), 'has no gradient at neck'),
        (dict(grad=0.0), 'its gradient at neck is exactly 0'),
        (dict(grad=math.inf), 'its gradient at neck is inf'),
        (dict(grad=None, frozen=True), 'frozen_stages'),
        (dict(grad=None, frozen=True, with_cp=True), 'with_cp=True'),
        (dict(grad=0.0, alone=1.0), 'no part of the training'),
        (dict(grad=11.0), 'the task hardly counts'),
        (dict(grad=0.9e-3), 'it hardly has an effect'),
    ],
)
def test_a_sick_loss_is_named(changes, words):
    (message,) = judge.judge_losses(Step(losses=[loss(**changes)]), weights())
    assert words in message and 'loss_x' in message


def test_out_of_proportion_offers_auto_and_a_number():
    (message,) = judge.judge_losses(Step(losses=[loss(grad=600.0)]), weights())
    assert "loss_weight='auto'" in message and 'about 0.001 for' in message  # 2 * 0.3 / 600


def test_an_automatic_weight_without_a_task_gradient():
    (message,) = judge.judge_losses(Step(losses=[loss(task=0.0, grad=0.0, auto=0.0)]), weights(auto=True))
    assert "'auto' finds 0" in message


def test_a_schedule_that_never_counts():
    never = LossWeights(dict(loss_x=1.0), dict(loss_x=LossSchedule(begin=100)), {})
    (message,) = judge.judge_losses(Step(losses=[loss()]), never, iterations=100)
    assert 'loss_x (begin=100, end=None)' in message and 'teaches nothing' in message
    assert judge.judge_losses(Step(losses=[loss()]), never, iterations=101) == []


def test_no_ratio_where_the_task_does_not_reach():
    assert judge.ratio_of(loss(task=None)) is None
    assert judge.judge_losses(Step(losses=[loss(task=None)]), weights()) == []


def test_labels():
    assert judge.judge_labels(10, dict(student=11, teacher=None)) == []
    (message,) = judge.judge_labels(10, dict(student=11, teacher=10))
    assert 'go up to 10, but the teacher has 10 classes (0 to 9)' in message
    assert 'no labels' in judge.judge_labels(None, dict(student=11))[0]


def test_teacher_beside_chance():
    assert judge.judge_quality(None) == []
    assert judge.judge_quality(Quality(2.0, 2.4, 0.5, 0.5)) == []
    assert 'looks untrained' in judge.judge_quality(Quality(2.5, 2.4, 0.5, 0.5))[0]


def test_step():
    assert judge.judge_step(Step(logged=dict(loss=1.0, acc=math.nan))) == []
    assert 'not finite' in judge.judge_step(Step(logged=dict(loss=math.inf)))[0]
    assert 'fails with RuntimeError: no' in judge.judge_step(Step(error=RuntimeError('no')))[0]
