import copy
import math

import pytest
import torch
from mmengine.optim import OptimWrapper

from kd_methods.distill.loss_weights import AutoWeight, LossSchedule, LossWeights, statistic_name


def factors(steps=10, **cfg):
    schedule = LossSchedule.parse(cfg, 'key')
    return [round(schedule.factor(i), 4) for i in range(steps)]


def test_schedule_factors():
    assert factors(4) == [1, 1, 1, 1]
    assert factors(6, begin=2, warmup=3) == [0, 0, 0.25, 0.5, 0.75, 1]
    assert factors(4, end=2) == [1, 1, 0, 0]
    assert factors(6, end=4, decay='linear') == [1, 0.75, 0.5, 0.25, 0, 0]
    assert factors(6, end=4, decay='linear', decay_begin=2) == [1, 1, 1, 0.5, 0, 0]
    assert factors(5, end=4, decay='cosine')[2] == pytest.approx(0.5 * (1 - math.cos(math.pi * 0.5)))


@pytest.mark.parametrize(
    'cfg,error,text',
    [
        (dict(warm_up=3), KeyError, "has no \\['warm_up'\\]; it takes"),
        (dict(decay='linear'), ValueError, 'needs `end`'),
        (dict(decay='exp', end=3), ValueError, "'exp' is none of"),
        (dict(begin=-1), ValueError, 'cannot be negative'),
        (dict(begin=5, warmup=5, end=7), ValueError, 'lies before begin \\+ warmup = 10'),
        (500, TypeError, 'a schedule is a dict'),
        (dict(decay_begin=3), ValueError, "no effect without decay='linear'"),
        (dict(decay='linear', decay_begin=9, end=8), ValueError, 'has to lie from the end of the warm-up'),
        (
            dict(decay='linear', warmup=4, decay_begin=2, end=8),
            ValueError,
            'has to lie from the end of the warm-up, 4',
        ),
    ],
)
def test_schedule_mistakes_are_named(cfg, error, text):
    with pytest.raises(error, match=text) as info:
        LossSchedule.parse(cfg, 'model.distiller.loss_schedules.loss_kd')
    assert 'loss_schedules.loss_kd' in str(info.value)


def test_a_schedule_of_no_loss_is_named(distill, distiller_cfg):
    with pytest.raises(KeyError, match="no loss \\['loss_x'\\]; distill_losses has \\['loss_kd'\\]"):
        distill(distiller=distiller_cfg(loss_schedules=dict(loss_x=dict(end=3))))


def test_statistic_names_do_not_count_as_losses():
    assert statistic_name('loss_i2ckd', 'active') == 'i2ckd_active'
    assert 'loss' not in statistic_name('my_loss', 'weight')


def test_schedule_scales_the_loss_and_is_logged(distill, batch, losses_of, distiller_cfg, segmentor):
    model = distill(
        student=segmentor(4, dropout=0), distiller=distiller_cfg(loss_schedules=dict(loss_kd=dict(warmup=1)))
    )
    plain = distill(student=segmentor(4, dropout=0))
    first, second = losses_of(model, batch()), losses_of(model, batch())
    value = losses_of(plain, batch())['distill.loss_kd']
    torch.testing.assert_close(first['distill.loss_kd'], value * 0.5)
    torch.testing.assert_close(second['distill.loss_kd'], value)
    assert first['distill.kd_weight'] == 0.5


def test_a_finished_schedule_is_logged_as_weight_0(distill, batch, losses_of, distiller_cfg):
    model = distill(distiller=distiller_cfg(loss_schedules=dict(loss_kd=dict(end=1))))
    assert losses_of(model, batch())['distill.kd_weight'] == 1
    over = losses_of(model, batch())
    assert over['distill.kd_weight'] == 0 and 'distill.loss_kd' not in over


def test_auto_weight_gives_the_ratio_of_gradient_norms():
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    auto = AutoWeight(ratio=0.3, iters=1)
    task, loss = x.square().sum(), x.sin().sum() * 7
    auto.measure(task, loss, [x], 'loss_x')
    norms = [torch.autograd.grad(v, x, retain_graph=True)[0].norm() for v in (task, loss)]
    torch.testing.assert_close(auto.weight(), 0.3 * norms[0] / norms[1])
    assert auto.found


def test_auto_weight_without_gradient_is_zero_and_says_so(caplog):
    x = torch.randn(3, requires_grad=True)
    auto = AutoWeight(iters=1)
    auto.measure(x.sum(), x.sum() * 0, [x], 'loss_x')
    assert auto.weight() == 0


@pytest.mark.parametrize('scale', [1e-4, 1.0, 1e4])
def test_auto_weight_at_a_half_precision_tap(scale):
    """Gradients of a mean over many pixels are below float16's smallest number, and a scaled loss is above
    its largest.
    """
    x = torch.randn(1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    weights = []
    for dtype in (torch.float32, torch.float16):
        tap = x.to(dtype).requires_grad_()
        auto = AutoWeight(ratio=0.3, iters=4)
        for _ in range(4):
            auto.measure(
                tap.float().sin().mean() * 0.01, tap.float().square().mean() * scale, [tap], 'loss_x'
            )
        weights.append(auto.weight())
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-2, atol=0)


def test_one_iteration_that_is_not_finite_does_not_spoil_an_auto_weight():
    x = torch.randn(8, requires_grad=True)
    auto = AutoWeight(ratio=0.3, iters=3)
    for factor in (1.0, float('inf'), 1.0):
        auto.measure(x.square().sum(), x.sin().sum() * factor, [x], 'loss_x')
    alone = AutoWeight(ratio=0.3, iters=1)
    alone.measure(x.square().sum(), x.sin().sum(), [x], 'loss_x')
    torch.testing.assert_close(auto.weight(), alone.weight())


def train(model, batch, steps, start=0):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05))
    logs = []
    for seed in range(start, start + steps):
        model.train()
        logs.append(model.train_step(batch(seed=seed), wrapper))
    return logs


@pytest.mark.parametrize('scale', [1e4, 1e-4])
def test_auto_weight_makes_the_scale_of_a_loss_irrelevant(
    distill, batch, distiller_cfg, segmentor, scale, monkeypatch
):
    """The same run with a loss scaled by 1e4 gives the same training."""

    def run(factor):
        model = distill(
            student=segmentor(4, dropout=0),
            distiller=distiller_cfg(loss=dict(loss_weight=dict(type='auto', ratio=0.3, iters=3))),
        )
        loss = model.distiller.distill_losses['loss_kd']
        forward = loss.forward
        loss.forward = lambda **kwargs: forward(**kwargs) * factor
        train(model, batch, 6)
        return model

    plain, scaled = run(1.0), run(scale)
    for (name, first), (_, second) in zip(
        plain.student.state_dict().items(), scaled.student.state_dict().items()
    ):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6, msg=name)
    weights = [m.weights.auto['loss_kd'].weight() for m in (plain, scaled)]
    torch.testing.assert_close(weights[0], weights[1] * scale, rtol=1e-4, atol=0)
    untouched = distill(student=segmentor(4, dropout=0), distiller=distiller_cfg(loss=dict(loss_weight=0.0)))
    train(untouched, batch, 6)
    assert not torch.allclose(
        untouched.student.decode_head.conv_seg.weight,
        plain.student.decode_head.conv_seg.weight,
        rtol=1e-4,
        atol=1e-6,
    )  # the loss does have an effect on this training


def test_auto_weight_stays_fixed_once_found(distill, batch, distiller_cfg):
    model = distill(distiller=distiller_cfg(loss=dict(loss_weight=dict(type='auto', iters=2))))
    logs = train(model, batch, 5)
    values = [float(log['distill.kd_weight']) for log in logs]
    assert values[0] != values[1] and values[1] == values[2] == values[4]


@pytest.mark.parametrize('stop', [1, 3])
def test_auto_weight_and_schedule_resume_exactly(distill, batch, distiller_cfg, segmentor, stop):
    """Interrupted while the weight is being found, or after: the rest of the run is the same, bit for bit."""

    def make():
        return distill(
            student=segmentor(4, dropout=0),
            distiller=distiller_cfg(
                loss=dict(loss_weight=dict(type='auto', iters=2)), loss_schedules=dict(loss_kd=dict(warmup=4))
            ),
        )

    whole, first = make(), make()
    train(whole, batch, 5)
    train(first, batch, stop)
    resumed = make()
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.teacher.model.load_state_dict(first.teacher.model.state_dict())
    assert resumed.weights.step == stop
    train(resumed, batch, 5 - stop, start=stop)
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items()):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(
    'weight,error,text',
    [
        ('automatic', ValueError, "'automatic' is neither a number nor 'auto'"),
        (dict(type='auto', rate=1), ValueError, "expected a number, 'auto' or dict"),
        (dict(type='auto', ratio=-1), ValueError, 'ratio must be > 0'),
    ],
)
def test_weight_mistakes_are_named(distill, distiller_cfg, weight, error, text):
    with pytest.raises(error, match=text):
        distill(distiller=distiller_cfg(loss=dict(loss_weight=weight)))


def test_auto_weight_needs_a_task_loss(distill, distiller_cfg):
    with pytest.raises(ValueError, match="'auto'.*calculate_student_loss=False"):
        distill(distiller=distiller_cfg(loss=dict(loss_weight='auto')), calculate_student_loss=False)


def test_auto_weight_works_for_mmrazors_distiller(distill, batch, losses_of):
    recorders = dict(logits=dict(type='ModuleOutputs', source='decode_head.conv_seg'))
    pair = dict(
        preds_S=dict(recorder='logits', from_student=True),
        preds_T=dict(recorder='logits', from_student=False),
    )
    model = distill(
        distiller=dict(
            type='mmrazor.ConfigurableDistiller',
            student_recorders=recorders,
            teacher_recorders=recorders,
            distill_losses=dict(loss_cwd=dict(type='ChannelWiseDivergence', loss_weight='auto')),
            loss_forward_mappings=dict(loss_cwd=pair),
        )
    )
    assert losses_of(model, batch())['distill.cwd_weight'] > 0


def test_weights_follow_the_checkpoint():
    weights = LossWeights(dict(loss_a=1.0), {}, {})
    weights.advance()
    other = LossWeights(dict(loss_a=1.0), {}, {})
    other.load_state_dict(weights.state_dict())
    assert other.step == 1
