import copy

import pytest
import torch
import torch.nn.functional as F
from toys import build_distillation, losses_of, tiny_model

import kd_methods  # noqa: F401
from kd_methods.methods import I2CKDLoss
from kd_methods.methods.logit_kd import parse_logit_kd


def build(width=4, **distiller):
    """A student of that width under a teacher of width 8, without dropout, so that values can be compared."""
    model = build_distillation(tiny_model(width, 'BN'), dict(type='I2CKDDistiller', **distiller))
    model.architecture.decode_head.dropout.p = 0.0
    return model


def features(model, batch):
    """What the decode heads hand to their classifiers, and the labels, without this project's taps."""
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    student = copy.deepcopy(model.architecture).train()
    teacher = copy.deepcopy(model.teacher.model).eval()
    with torch.no_grad():
        maps = [
            net.decode_head._forward_feature(net.extract_feat(data['inputs'])) for net in (student, teacher)
        ]
        logits = [net.decode_head.conv_seg(x) for net, x in zip((student, teacher), maps)]
    return maps, logits, torch.stack([s.gt_sem_seg.data for s in data['data_samples']])


def test_it_needs_nothing_but_its_type(batch):
    model = build()
    losses = losses_of(model, batch)
    maps, _, label = features(model, batch)
    loss = I2CKDLoss(11, 8, 16)
    loss.load_state_dict(model.distiller.distill_losses['loss_i2ckd'].state_dict())
    torch.testing.assert_close(losses['distill.loss_i2ckd'], loss(*maps, label))
    assert losses['distill.loss_i2ckd'] > 0
    for name, value in loss.stats.items():
        torch.testing.assert_close(losses[f'distill.i2ckd_{name}'], value)
    assert sorted(k for k in losses if k.startswith('distill.')) == sorted(
        ['distill.loss_i2ckd'] + [f'distill.i2ckd_{name}' for name in loss.stats]
    )


def test_its_gradient_reaches_student_and_projection_only(batch):
    model = build()
    losses_of(model, batch)['distill.loss_i2ckd'].backward()
    assert model.distiller.distill_losses['loss_i2ckd'].projection.weight.grad.ne(0).any()
    assert model.architecture.backbone.stem[0].weight.grad.ne(0).any()
    assert model.architecture.decode_head.bottleneck.conv.weight.grad.ne(0).any()
    assert all(p.grad is None for p in model.teacher.model.parameters())


def test_equal_widths_need_no_projection():
    model = build(width=8)
    assert not list(model.distiller.parameters())


def test_taps_and_options_reach_the_loss(batch):
    options = dict(
        distance='cosine',
        unit='absolute',
        margin=0.4,
        negatives='hardest',
        scope='batch',
        min_pixels=2,
        normalize=True,
        project='map',
        ignore_index=0,
    )
    model = build(student_feature='backbone.2', teacher_feature='backbone.3', **options)
    loss = model.distiller.distill_losses['loss_i2ckd']
    assert loss.options == options
    assert loss.projection.weight.shape == (64, 16)
    assert losses_of(model, batch)['distill.loss_i2ckd'].isfinite()


def test_logit_kd_is_the_divergence_per_pixel(batch):
    model = build(logit_kd=dict(loss_weight=0.5, tau=2.0))
    losses = losses_of(model, batch)
    _, (logits_S, logits_T), label = features(model, batch)
    log_S, p_T = F.log_softmax(logits_S / 2, 1), F.softmax(logits_T / 2, 1)
    counts = label[:, 0, ::8, ::8] != 255
    expected = 0.5 * 4 * F.kl_div(log_S, p_T, reduction='none').sum(1)[counts].mean()
    torch.testing.assert_close(losses['distill.loss_kd'], expected)


@pytest.mark.parametrize('logit_kd', ['auto', dict(loss_weight=dict(type='auto', ratio=0.1))], ids=str)
def test_automatic_weights_and_schedules(batch, logit_kd):
    model = build(loss_weight='auto', schedule=dict(begin=1), logit_kd=logit_kd)
    assert losses_of(model, batch).get('distill.loss_i2ckd', 0) == 0  # not begun
    assert losses_of(model, batch)['distill.loss_i2ckd'] > 0
    assert set(model.distiller.auto_weights) == {'loss_i2ckd', 'loss_kd'}
    assert set(model.distiller.loss_schedules) == {'loss_i2ckd'}


@pytest.mark.parametrize(
    'cfg, error, text',
    [
        (dict(margn=1.0), KeyError, r"distiller: I2CKDDistiller takes no \['margn'\]. Possible: .*'margin'"),
        (
            dict(unit='student'),
            ValueError,
            "distiller: unit='student' is not known. Possible: 'teacher', 'abs",
        ),
        (dict(margin='abc'), ValueError, "distiller: margin must be a number of 0 or more. Got: 'abc'"),
        (dict(loss_weight=-1), ValueError, 'distiller.loss_weight: the weight must be a number of 0 or more'),
        (dict(feature='decode_head.botleneck'), KeyError, 'decode_head.bottleneck'),
        (dict(student_channels=5), ValueError, 'student_channels=5, but tap .* has 8 channels'),
        (dict(logit_kd=dict(weight=1)), KeyError, r"logit_kd: takes no \['weight'\]"),
        (dict(logit_kd=True), TypeError, 'logit_kd: the weight must be a number'),
        (dict(logit_kd=dict(tau=0)), ValueError, 'logit_kd: tau must be a number above 0. Got: 0'),
    ],
    ids=str,
)
def test_mistakes_are_named(cfg, error, text):
    with pytest.raises(error, match=text):
        build(**cfg)


def test_parse_logit_kd():
    assert parse_logit_kd(None) is None
    assert parse_logit_kd(dict(type='auto', iters=5))['loss_weight'] == dict(type='auto', iters=5)
    assert parse_logit_kd(dict(tau=4.0)) == dict(loss_weight=1.0, tau=4.0, schedule=None)
