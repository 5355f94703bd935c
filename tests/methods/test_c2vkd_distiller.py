import copy

import pytest
import torch
from toys import build_distillation, losses_of, tiny_segformer

import kd_methods  # noqa: F401
from kd_methods.methods import PDDLoss, VLFDLoss


def build(algorithm=None, student=None, **distiller):
    return build_distillation(
        student or tiny_segformer(), dict(type='C2VKDDistiller', **distiller), **(algorithm or {})
    )


def test_it_needs_nothing_but_its_type(batch):
    model = build()
    losses = losses_of(model, batch)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    student, teacher = copy.deepcopy(model.architecture), copy.deepcopy(model.teacher.model).eval()
    with torch.no_grad():
        feat_S, feat_T = (net.extract_feat(data['inputs']) for net in (student, teacher))
        logits_S, logits_T = student.decode_head(feat_S), teacher.decode_head(feat_T)
    vlfd, pdd = VLFDLoss(64, 64), PDDLoss()
    vlfd.load_state_dict(model.distiller.distill_losses['loss_vlfd'].state_dict())
    label = torch.stack([s.gt_sem_seg.data for s in data['data_samples']])
    torch.testing.assert_close(losses['distill.loss_vlfd'], vlfd(feat_S[-1], feat_T[-1]))
    torch.testing.assert_close(losses['distill.loss_pdd'], pdd(logits_S, logits_T, label))
    assert sorted(k for k in losses if k.startswith('distill.')) == sorted(
        ['distill.loss_vlfd', 'distill.loss_pdd']
        + [f'distill.vlfd_{k}' for k in ('global', 'patch', 'linguistic')]
        + [f'distill.pdd_{k}' for k in 'st']
    )


def test_its_gradient_reaches_student_and_adapters_only(batch):
    model = build()
    losses = losses_of(model, batch)
    (losses['distill.loss_vlfd'] + losses['distill.loss_pdd']).backward()
    vlfd = model.distiller.distill_losses['loss_vlfd']
    for weight in (
        vlfd.adapter.weight,
        vlfd.projection.weight,
        model.architecture.backbone.layers[0][0].projection.weight,
        model.architecture.decode_head.conv_seg.weight,
    ):
        assert weight.grad.ne(0).any()
    assert all(p.grad is None for p in model.teacher.model.parameters())


def test_without_task_loss_the_method_trains_the_student_alone(batch):
    model = build(dict(calculate_student_loss=False), vlfd=dict(reduction='element', gram_scale='channel'))
    losses = losses_of(model, batch)
    assert not [name for name in losses if name.startswith('student.')]
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_without_vlfd_weights_the_adapters_stand_still(batch):
    model = build(vlfd=dict(global_weight=0, patch_weight=0, linguistic_weight=0))
    losses = losses_of(model, batch)
    assert 'distill.loss_vlfd' not in losses
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    adapters = list(model.distiller.parameters())
    # DistributedDataParallel waits for a gradient of each parameter, so they get one: zero.
    assert len(adapters) == 3 and all(p.grad.eq(0).all() for p in adapters)
    assert model.architecture.decode_head.conv_seg.weight.grad.ne(0).any()


@pytest.mark.parametrize('off, left', [('vlfd', 'pdd'), ('pdd', 'vlfd')])
def test_either_half_can_be_left_out(batch, off, left):
    losses = losses_of(build(**{off: None}), batch)
    assert [k for k in losses if k.startswith('distill.loss')] == [f'distill.loss_{left}']


def test_other_taps_and_options(batch):
    model = build(
        student_feature='backbone.2',
        teacher_feature='decode_head.bottleneck',
        vlfd=dict(pool=None, schedule=dict(begin=1)),
        pdd=dict(direction='reverse', loss_weight='auto'),
    )
    vlfd = model.distiller.distill_losses['loss_vlfd']
    assert vlfd.adapter.weight.shape == (16, 40, 1, 1)
    assert losses_of(model, batch).get('distill.loss_vlfd', 0) == 0
    assert losses_of(model, batch)['distill.loss_vlfd'] > 0
    assert set(model.distiller.auto_weights) == {'loss_pdd'}
    assert model.distiller.distill_losses['loss_pdd'].options['direction'] == 'reverse'


def test_a_teacher_of_other_classes_can_still_teach_features(batch):
    with pytest.raises(ValueError, match='logits of the student have 5 classes'):
        build(student=tiny_segformer(classes=5))
    build(student=tiny_segformer(classes=5), pdd=None)


@pytest.mark.parametrize(
    'cfg, error, text',
    [
        (
            dict(vlfd=dict(patch=1.0)),
            KeyError,
            r"distiller.vlfd: VLFDLoss takes no \['patch'\]. .*patch_weight",
        ),
        (
            dict(vlfd=dict(pool='clip')),
            ValueError,
            "distiller.vlfd: pool='clip' is not known. Possible: 'gap'",
        ),
        (dict(pdd=dict(direction='back')), ValueError, "distiller.pdd: direction='back' is not known"),
        (dict(pdd=dict(schedule=dict(start=3))), KeyError, 'distiller.pdd.schedule: a schedule has no'),
        (
            dict(pdd=dict(loss_weight=None)),
            TypeError,
            'distiller.pdd.loss_weight: the weight must be a number',
        ),
        (dict(pdd=0.5), TypeError, 'distiller.pdd: expected a dict'),
        (dict(vlfd=None, pdd=None), ValueError, 'leave C2VKDDistiller nothing to distil'),
        (
            dict(vlfd=dict(teacher_channels=5)),
            ValueError,
            'distiller.vlfd.teacher_channels=5, but tap .* has 64',
        ),
        (dict(vlf=None), KeyError, r"C2VKDDistiller takes no \['vlf'\]. Possible: .*'vlfd'"),
        (dict(vlfd=None, student_feature='backbone.1'), ValueError, 'are taps of VLFD, but vlfd=None'),
        (dict(vlfd=dict(pool='attention')), ValueError, 'needs pool_file'),
        (dict(teacher_feature='decode_head.botleneck'), KeyError, 'decode_head.bottleneck'),
    ],
    ids=str,
)
def test_mistakes_are_named_before_training(cfg, error, text):
    with pytest.raises(error, match=text):
        build(**cfg)
