import copy

import pytest
import torch
from toys import build_distillation, losses_of, tiny_model

import kd_methods  # noqa: F401
from kd_methods.methods import ARFDLoss, DWLDLoss

INPUTS = dict(channels=dict(rgb=3, x=1))


def duplex(width=8, late=False):
    """An RGB-X network in the shape of `tiny_model`."""
    model = tiny_model(width, 'BN')
    model['backbone'] = dict(type='DuplexEncoder', rgb=model['backbone'], fusion=None if late else 'sum')
    if late:
        model['decode_head'] = dict(type='LateFusionHead', rgb=model['decode_head'])
        model['auxiliary_head'] = None
    model['data_preprocessor'].update(type='RGBXDataPreProcessor', x_mean=[100.0], x_std=[50.0])
    return model


@pytest.fixture
def rgbx(batch):
    """The batch with a fourth channel."""
    g = torch.Generator().manual_seed(1)
    images = [torch.cat([x.float(), 200 * torch.rand(1, *x.shape[1:], generator=g)]) for x in batch['inputs']]
    return dict(batch, inputs=images)


def build(teacher=None, algorithm=None, **distiller):
    student = tiny_model(4, 'BN', dropout=0.0)
    return build_distillation(student, dict(type='LIXDistiller', **distiller), teacher, **(algorithm or {}))


def expected_losses(model, inputs_S, inputs_T, label, stages=(1, 2, 3)):
    student, teacher = copy.deepcopy(model.architecture), copy.deepcopy(model.teacher.model).eval()
    with torch.no_grad():
        feats_S, feats_T = student.extract_feat(inputs_S), teacher.extract_feat(inputs_T)
        logits = student.decode_head(feats_S), teacher.decode_head(feats_T)
        return DWLDLoss()(*logits, label), [ARFDLoss()(feats_S[i], feats_T[i]) for i in stages]


def test_an_rgb_teacher_needs_nothing_but_the_type(batch):
    model = build()
    losses = losses_of(model, batch)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    label = torch.stack([s.gt_sem_seg.data for s in data['data_samples']])
    dwld, arfd = expected_losses(model, data['inputs'], data['inputs'], label)
    torch.testing.assert_close(losses['distill.loss_dwld'], dwld)
    for i, value in enumerate(arfd):
        torch.testing.assert_close(losses[f'distill.loss_arfd_{i}'], value / 3)
    assert {f'distill.dwld_{key}' for key in ('tcld', 'ncld', 't')} < set(losses)
    assert not list(model.distiller.parameters())  # no adapter, though channels differ


def test_an_rgbx_teacher_sees_x_and_the_student_does_not(rgbx):
    model = build(duplex(), dict(inputs=INPUTS))
    losses = losses_of(model, rgbx)
    data = model.data_preprocessor(copy.deepcopy(rgbx), True)
    assert data['inputs'].shape[1] == 3 and data['teacher_inputs'].shape[1] == 4
    label = torch.stack([s.gt_sem_seg.data for s in data['data_samples']])
    dwld, arfd = expected_losses(model, data['inputs'], data['teacher_inputs'], label)
    torch.testing.assert_close(losses['distill.loss_dwld'], dwld)
    torch.testing.assert_close(losses['distill.loss_arfd_1'], arfd[1] / 3)
    other = copy.deepcopy(rgbx)
    for image in other['inputs']:
        image[3] = 200 - image[3]
    changed = losses_of(model, other)  # the teacher does see X
    assert not torch.isclose(changed['distill.loss_dwld'], losses['distill.loss_dwld'])
    torch.testing.assert_close(changed['student.decode.loss_ce'], losses['student.decode.loss_ce'])


def test_the_student_predicts_from_rgb_alone(rgbx):
    model = build(duplex(), dict(inputs=INPUTS)).eval()
    rgb = dict(rgbx, inputs=[image[:3] for image in rgbx['inputs']])
    with torch.no_grad():
        full, alone = (
            torch.stack([s.seg_logits.data for s in model.test_step(copy.deepcopy(b))]) for b in (rgbx, rgb)
        )
    assert full.equal(alone)
    with pytest.raises(ValueError, match='model.inputs: the images of the batch have 3 channels, expected 4'):
        losses_of(model.train(), rgb)


def test_late_fusion_teaches_by_its_common_map(rgbx):
    features = dict(student_features='features', teacher_features='features')
    losses = losses_of(build(duplex(late=True), dict(inputs=INPUTS), **features), rgbx)
    assert [k for k in losses if 'loss_arfd' in k] == ['distill.loss_arfd']
    assert losses['distill.loss_arfd'] > 0


def test_its_gradient_reaches_the_student_only(rgbx):
    model = build(duplex(), dict(inputs=INPUTS))
    losses = losses_of(model, rgbx)
    sum(value for name, value in losses.items() if name.startswith('distill.loss')).backward()
    student = model.architecture
    for weight in (
        student.backbone.layer2[0].conv1.weight,
        student.backbone.layer4[1].conv2.weight,
        student.decode_head.conv_seg.weight,
    ):
        assert weight.grad.ne(0).any()
    assert all(p.grad is None for p in model.teacher.model.parameters())


@pytest.mark.parametrize('off, left', [('dwld', ['arfd_0', 'arfd_1', 'arfd_2']), ('arfd', ['dwld'])])
def test_either_half_can_be_left_out(batch, off, left):
    losses = losses_of(build(**{off: None}), batch)
    assert [k for k in losses if k.startswith('distill.loss')] == [f'distill.loss_{name}' for name in left]


def test_taps_weights_and_schedules(batch):
    model = build(
        student_features=('backbone.0', 'features'),
        teacher_features=['backbone.1', 'decode_head.bottleneck'],
        arfd=dict(loss_weight='auto', schedule=dict(begin=1)),
        dwld=dict(controller='kd', loss_weight=2.0),
    )
    assert {name: auto.ratio for name, auto in model.distiller.auto_weights.items()} == dict(
        loss_arfd_0=0.15, loss_arfd_1=0.15
    )
    assert losses_of(model, batch).get('distill.loss_arfd_0', 0) == 0
    assert losses_of(model, batch)['distill.loss_arfd_0'] > 0
    assert model.distiller.distill_losses['loss_dwld'].loss_weight == 2
    one = build(
        student_features='backbone.2',
        teacher_features='backbone.2',
        arfd=dict(loss_weight=dict(type='auto', ratio=0.5)),
    )
    assert one.distiller.auto_weights['loss_arfd'].ratio == 0.5
    assert build(arfd=dict(loss_weight=6.0)).distiller.distill_losses['loss_arfd_2'].loss_weight == 2


@pytest.mark.parametrize(
    'cfg, error, text',
    [
        (dict(dwld=dict(lam=1.0)), KeyError, r"distiller.dwld: DWLDLoss takes no \['lam'\]. .*'gamma'"),
        (dict(dwld=dict(controller='x')), ValueError, "distiller.dwld: controller='x' is not known"),
        (dict(dwld=dict(gamma=float('nan'))), ValueError, 'distiller.dwld: gamma must be a number of 0'),
        (dict(arfd=dict(recalibrate='all')), ValueError, "distiller.arfd: recalibrate='all' is not known"),
        (dict(arfd=0.5), TypeError, 'distiller.arfd: expected a dict'),
        (dict(arfd=dict(loss_weight='much')), TypeError, 'distiller.arfd.loss_weight: the weight must be'),
        (dict(dwld=None, arfd=None), ValueError, 'leave LIXDistiller nothing to distil'),
        (dict(arfd=None, student_features='features'), ValueError, 'are taps of ARFD, but arfd=None'),
        (dict(student_features=['features']), ValueError, 'must name as many maps each, one or more'),
        (dict(student_features=[], teacher_features=[]), TypeError, 'expected taps'),
        (dict(feature='features'), KeyError, r"LIXDistiller takes no \['feature'\]. .*'student_features'"),
        (dict(student_features='backbone.7', teacher_features='backbone.1'), ValueError, 'index 7 is out of'),
    ],
    ids=str,
)
def test_mistakes_are_named_before_training(cfg, error, text):
    with pytest.raises(error, match=text):
        build(**cfg)


def test_layout_mistakes_are_named_before_training():
    with pytest.raises(KeyError, match='model.inputs.student: expected some of'):
        build(duplex(), dict(inputs=dict(channels=dict(rgb=3, x=1), student='depth')))
    with pytest.raises(
        ValueError, match='model.inputs is missing: the student takes 3 channels, the teacher 4. .*rgb=3, x=1'
    ):
        build(duplex())
    with pytest.raises(
        ValueError, match=r"model.inputs gives the teacher 3 channels, .'rgb'. of .*, but it takes 4"
    ):
        build(duplex(), dict(inputs=dict(channels=dict(rgb=3, x=1), teacher='rgb')))
    with pytest.raises(ValueError, match="model.inputs.*teacher_preprocessor must be 'own'"):
        build(duplex(), dict(inputs=INPUTS, teacher_preprocessor='student'))
