"""BCD on segmentors and detectors of every kind, CNNs and transformers, of different widths and strides."""

import copy

import pytest
import torch
from mmengine.registry import DefaultScope
from toys import build_distillation, losses_of, tiny_model, tiny_segformer
from toys_det import build_detection, detection_batch, tiny_detector

from kd_methods.methods.bcd import boundary_loss, context_loss

LOSSES = ['distill.loss_boundary', 'distill.loss_context']


def build(architecture=None, teacher=None, **distiller):
    return build_distillation(
        architecture or tiny_model(4, 'BN'), dict(type='BCDDistiller', **distiller), teacher
    )


def names_of(losses):
    return [name for name in losses if name.startswith('distill.loss')]


def test_all_maps_of_the_backbones_and_their_last_ones_by_default(batch):
    model = build().eval()
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    with torch.no_grad():
        S, T = (network.backbone(data['inputs']) for network in (model.architecture, model.teacher.model))
        losses = losses_of(model, batch)
    value, stats = boundary_loss(S, T)
    torch.testing.assert_close(losses['distill.loss_boundary'], 10 * value)
    torch.testing.assert_close(losses['distill.loss_context'], context_loss(S[-1], T[-1]))
    torch.testing.assert_close({name: losses[f'distill.boundary_{name}'] for name in stats}, stats)
    assert names_of(losses) == LOSSES


@pytest.mark.parametrize('only', ['boundary', 'context'])
def test_either_loss_alone(batch, only):
    other = {'boundary': 'context', 'context': 'boundary'}[only]
    model = build(**{other: None})
    losses = losses_of(model, batch)
    assert names_of(losses) == [f'distill.loss_{only}']
    losses[f'distill.loss_{only}'].backward()
    assert model.architecture.backbone.stem[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teacher.model.parameters())
    assert len(model.distiller.teacher_taps) == (4 if only == 'boundary' else 1)


@pytest.mark.parametrize(
    ('student', 'teacher'),
    [(tiny_segformer, None), (None, tiny_segformer), (tiny_segformer, tiny_segformer)],
    ids=['CNN teaches transformer', 'transformer teaches CNN', 'transformers'],
)
def test_transformers_and_other_strides_need_no_adapter(batch, student, teacher):
    model = build(student and student(4), teacher and teacher(8))
    losses = losses_of(model, batch)
    assert names_of(losses) == LOSSES
    sum(losses[name] for name in LOSSES).backward()
    stages = (
        p for name, p in model.architecture.backbone.named_parameters() if 'weight' in name and p.dim() > 1
    )
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stages)
    assert not list(model.distiller.parameters())


@pytest.mark.parametrize(
    ('student', 'teacher'),
    [
        ('retinanet', 'retinanet'),
        ('solo', 'solo'),
        ('faster', 'cascade'),
        ('mask', 'mask'),
        ('mask', 'cascade_mask'),
        ('retinanet', 'mask'),
    ],
)
def test_detectors(student, teacher):
    """One-stage, two-stage and mask models; of the teacher only the backbone runs."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = build_detection(dict(type='BCDDistiller'), student, teacher)
        model.teacher.model.neck.forward = None
        losses = losses_of(model, detection_batch(((64, 48), (40, 64)), masks=student in ('mask', 'solo')))
    assert names_of(losses) == LOSSES
    assert all(losses[name].isfinite() and losses[name] > 0 for name in LOSSES)


def test_a_transformer_detector():
    with DefaultScope.overwrite_default_scope('mmdet'):
        student = tiny_detector('retinanet', 4)
        student['backbone'] = dict(
            type='PyramidVisionTransformer',
            embed_dims=4,
            num_heads=[1, 1, 2, 4],
            num_layers=[1, 1, 1, 1],
            mlp_ratios=[2, 2, 2, 2],
            pretrain_img_size=64,
            out_indices=(0, 1, 2, 3),
        )
        student['neck']['in_channels'] = [4, 4, 8, 16]
        losses = losses_of(
            build_detection(dict(type='BCDDistiller'), student, 'retinanet'), detection_batch()
        )
    assert all(losses[name].isfinite() and losses[name] > 0 for name in LOSSES)


def test_ignored_labels_are_read_from_the_batch(batch):
    values = {}
    for valid_only in (False, True):
        model = build(boundary=dict(valid_only=valid_only), context=dict(valid_only=valid_only)).eval()
        for name, data in (('ignored', batch), ('whole', copy.deepcopy(batch))):
            if name == 'whole':
                for sample in data['data_samples']:
                    sample.gt_sem_seg.data = torch.zeros_like(sample.gt_sem_seg.data)
            losses = losses_of(model, data)
            values[valid_only, name] = torch.stack([losses[loss] for loss in LOSSES])
    assert not torch.isclose(values[True, 'ignored'], values[False, 'ignored']).any()
    for name in ('ignored', 'whole'):
        torch.testing.assert_close(values[False, name], values[False, 'whole'])
    torch.testing.assert_close(values[True, 'whole'], values[False, 'whole'])


def test_padding_is_read_from_the_batch():
    with DefaultScope.overwrite_default_scope('mmdet'):
        models = [
            build_detection(
                dict(type='BCDDistiller', boundary=dict(valid_only=v), context=dict(valid_only=v))
            ).eval()
            for v in (False, True)
        ]
        for sizes, equal in (((64, 64), (64, 64)), True), (((64, 32), (32, 64)), False):
            values = [
                torch.stack([losses_of(model, detection_batch(sizes))[loss] for loss in LOSSES])
                for model in models
            ]
            assert torch.isclose(*values).all() if equal else not torch.isclose(*values).any()


def test_a_frozen_stage_is_no_obstacle():
    """mmdet freezes the stem and the first stage of its ResNets: that level alone has no gradient."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        student = tiny_detector('retinanet', 4)
        student['backbone']['frozen_stages'] = 1
        model = build_detection(dict(type='BCDDistiller'), student, 'retinanet')
        losses_of(model, detection_batch())['distill.loss_boundary'].backward()
    backbone = model.architecture.backbone
    assert all(p.grad is None for p in backbone.layer1.parameters())
    assert backbone.layer2[0].conv1.weight.grad.abs().sum() > 0


def test_taps_can_be_chosen(batch):
    model = build(
        student_features=['backbone.0', 'backbone.3'],
        teacher_features=['backbone.1', 'backbone.-1'],
        context_features=dict(student='features', teacher='backbone.2'),
    )
    losses = losses_of(model, batch)
    assert names_of(losses) == LOSSES
    assert {name: tap.source for name, tap in model.distiller.student_taps.items()} == dict(
        level_0='backbone', level_1='backbone', context='decode_head.dropout'
    )
    assert len(build(features='backbone.2').distiller.student_taps) == 2


def test_weights_and_schedules(batch):
    model = build(
        boundary=dict(loss_weight='auto'),
        context=dict(loss_weight=dict(type='auto', ratio=0.5), schedule=dict(begin=1)),
    )
    assert {name: auto.ratio for name, auto in model.distiller.auto_weights.items()} == dict(
        loss_boundary=0.3, loss_context=0.5
    )
    assert names_of(losses_of(model, batch)) == LOSSES[:1]
    assert names_of(losses_of(model, batch)) == LOSSES
    off = build(boundary=dict(loss_weight=0.0), context=dict(loss_weight=0.0))
    off.teacher.run = None  # not called: every weight is 0
    assert not names_of(losses_of(off, batch))


def test_nothing_of_it_is_in_the_checkpoint():
    model = build()
    own = {name for name in model.state_dict() if not name.startswith('architecture.')}
    assert own == {'weights.iteration'} and not list(model.distiller.parameters())


@pytest.mark.parametrize(
    ('cfg', 'error', 'message'),
    [
        (dict(alpha=10), KeyError, r"distiller: BCDDistiller takes no \['alpha'\]. .*'boundary', 'context'"),
        (dict(boundary=dict(weight=1)), KeyError, r"distiller.boundary: .* no \['weight'\]. .*'gamma'"),
        (dict(boundary=dict(boundary='sobel')), ValueError, "distiller.boundary: boundary='sobel' is not"),
        (dict(boundary=dict(loss_weight=-1)), ValueError, 'distiller.boundary.loss_weight: the weight must'),
        (dict(boundary=dict(valid_only='no')), TypeError, 'distiller.boundary: valid_only must be True or'),
        (dict(context=dict(tau=None)), ValueError, 'distiller.context: tau must be a number above 0'),
        (dict(context=dict(schedule=dict(start=3))), KeyError, r"a schedule has no \['start'\]"),
        (dict(context=5), TypeError, 'distiller.context: expected a dict with some of'),
        (dict(boundary=None, context=None), ValueError, 'leave BCDDistiller nothing to distil'),
        (
            dict(boundary=None, features=['backbone.1']),
            ValueError,
            'features are taps of the boundaries, but',
        ),
        (dict(context=None, context_features='no'), ValueError, 'the tap of the context, but context=None'),
        (dict(features=[]), TypeError, r'distiller.features: expected taps such as .* got \[\]'),
        (dict(features=3), TypeError, 'distiller.features: expected taps such as'),
        (dict(teacher_features=[2, 3]), TypeError, r'distiller.teacher_features: .* got \[2, 3\]'),
        (dict(student_features=['backbone.1']), ValueError, r"has 1 levels \['backbone.1'\], the teacher 4"),
        (dict(features=['backbone.7']), ValueError, 'index 7 is out of range'),
        (dict(features=['decode_head.bottlenek']), KeyError, "Did you mean 'decode_head.bottleneck'"),
        (dict(context_features=['backbone.3']), TypeError, 'distiller.taps.context: give a tap for both'),
    ],
)
def test_mistakes_are_named(cfg, error, message):
    with pytest.raises(error, match=message):
        build(**cfg)


def test_a_backbone_of_one_map_says_what_to_do():
    model = tiny_model(4, 'BN')
    model['backbone']['out_indices'] = (3,)
    model['decode_head']['in_index'] = 0
    del model['auxiliary_head']
    with pytest.raises(ValueError, match=r"has 1 levels \['backbone.0'\], the teacher 4 .*student_features"):
        build(model)
    build(model, student_features=['backbone.0'], teacher_features=['backbone.3'])
