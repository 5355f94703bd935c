"""A student that starts from parts of its teacher."""

import copy

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from toys_det import build_detection, tiny_detector

PKD = dict(
    type='MethodDistiller',
    taps=dict(level='neck.0'),
    distill_losses=dict(loss_pkd=dict(type='mmrazor.PKDLoss')),
    loss_forward_mappings=dict(
        loss_pkd=dict(
            preds_S=dict(recorder='level', from_student=True),
            preds_T=dict(recorder='level', from_student=False),
        )
    ),
)


@pytest.fixture(autouse=True)
def detection_scope(segmentation_scope):
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def build(inherit, student=None, **kwargs):
    """Both networks are of one width, so that all parts but the weights are equal."""
    return build_detection(
        PKD,
        student or tiny_detector('retinanet', 8),
        tiny_detector('retinanet', 8),
        inherit=inherit,
        **kwargs,
    )


def equal(model, part):
    own, given = (
        network.get_submodule(part).state_dict() for network in (model.architecture, model.teacher.model)
    )
    return [torch.equal(own[key], given[key]) for key in given if given[key].dim() > 1]


def filled(tmp_path):
    """A teacher's checkpoint, with no weight that an initialisation could give."""
    teacher = MODELS.build(tiny_detector('retinanet', 8))
    g = torch.Generator().manual_seed(7)
    state = {
        k: torch.randn(v.shape, generator=g) if v.is_floating_point() else v
        for k, v in teacher.state_dict().items()
    }
    torch.save(dict(state_dict=state), tmp_path / 'teacher.pth')
    return str(tmp_path / 'teacher.pth')


@pytest.mark.parametrize(
    ('inherit', 'parts', 'others'),
    [
        (('neck', 'bbox_head'), ('neck', 'bbox_head'), ('backbone',)),
        (['bbox_head'], ('bbox_head',), ('neck', 'backbone')),
        ('neck.fpn_convs', ('neck.fpn_convs',), ('neck.lateral_convs', 'bbox_head')),
        ('all_but_backbone', ('neck', 'bbox_head'), ('backbone',)),
        (None, (), ('neck', 'bbox_head', 'backbone')),
    ],
)
def test_parts_are_the_teachers_after_initialisation(tmp_path, inherit, parts, others):
    model = build(inherit, teacher_ckpt=filled(tmp_path))
    model.init_weights()
    assert all(all(equal(model, part)) for part in parts)
    assert not any(any(equal(model, part)) for part in others)


def test_inherited_weights_are_a_copy(tmp_path):
    model = build('bbox_head', teacher_ckpt=filled(tmp_path))
    model.init_weights()
    before = copy.deepcopy(model.teacher.model.state_dict())
    with torch.no_grad():
        for parameter in model.architecture.bbox_head.parameters():
            assert parameter.requires_grad
            parameter.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in model.teacher.model.state_dict().items())


def test_a_teacher_without_checkpoint_is_initialised_first():
    model = build('bbox_head')
    model.init_weights()
    assert all(equal(model, 'bbox_head'))


def test_another_shape_is_refused_before_training():
    with pytest.raises(
        ValueError,
        match=r"model.inherit: 'neck' of the student is not shaped as the teacher's: "
        r'neck.lateral_convs.0.conv.weight: student \(8, 8, 1, 1\), teacher \(8, 16, 1, 1\)',
    ):
        build(('neck',), tiny_detector('retinanet', 4))


def test_other_classes_are_refused():
    with pytest.raises(
        ValueError, match=r'bbox_head.retina_cls.weight: student \(45, 8, 3, 3\), teacher \(27, 8, 3, 3\)'
    ):
        build('bbox_head', tiny_detector('retinanet', 8, classes=5))


@pytest.mark.parametrize('inherit', ['head', ('neck', 'roi_head'), ''])
def test_an_unknown_part_is_named_with_those_there_are(inherit):
    with pytest.raises(
        KeyError, match=r"has no part .* It has \['data_preprocessor', 'backbone', 'neck', 'bbox_head'\]"
    ):
        build(inherit)


@pytest.mark.parametrize('inherit', [3, [1], True])
def test_not_a_name(inherit):
    with pytest.raises(TypeError, match="model.inherit: give names of parts, e.g. \\('neck', 'bbox_head'\\)"):
        build(inherit)


def test_segmentors_inherit_too():
    from toys import build_distillation, tiny_model

    distiller = dict(type='I2CKDDistiller')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = build_distillation(tiny_model(8, 'BN'), distiller, inherit='all_but_backbone')
        model.init_weights()
    assert all(equal(model, 'decode_head')) and all(equal(model, 'auxiliary_head'))
