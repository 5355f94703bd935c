import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from toys import build_distillation, losses_of, tiny_model
from toys_det import build_detection, detection_batch

from kd_methods.methods import DMKDLoss


@pytest.fixture(autouse=True)
def detection_scope(segmentation_scope):
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def batch():
    return detection_batch(((64, 48), (40, 64)))


def build(kind='retinanet', teacher=None, algorithm=None, **distiller):
    return build_detection(dict(type='DMKDDistiller', **distiller), kind, teacher, **(algorithm or {}))


def names_of(losses):
    return [name for name in losses if name.startswith('distill.loss')]


def test_every_level_of_the_necks_by_default(batch):
    model = build(select='top')
    losses = losses_of(model, batch)
    assert names_of(losses) == [f'distill.loss_dmkd_{i}' for i in range(5)]
    assert all(losses[f'distill.dmkd_{i}_a_s'] == 0.5 for i in range(5))
    model.eval()
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    with torch.no_grad():
        levels = zip(
            model.architecture.extract_feat(data['inputs']), model.teacher.model.extract_feat(data['inputs'])
        )
        losses = losses_of(model, batch)
        for i, maps in enumerate(levels):
            loss = DMKDLoss(8, 8, select='top')
            loss.load_state_dict(model.distiller.distill_losses[f'loss_dmkd_{i}'].state_dict())
            torch.testing.assert_close(losses[f'distill.loss_dmkd_{i}'], loss(*maps))


def test_its_gradient_reaches_the_student_and_its_own_layers(batch):
    model = build(loss_weight=1.0)
    losses = losses_of(model, batch)
    sum(losses[name] for name in names_of(losses)).backward()
    assert model.architecture.backbone.stem[0].weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in model.distiller.parameters())
    assert all(p.grad is None for p in model.teacher.model.parameters())


@pytest.mark.parametrize(
    ('kind', 'teacher'), [('faster', 'cascade_mask'), ('mask', 'mask'), ('reppoints', 'reppoints')]
)
def test_other_detectors(kind, teacher):
    batch = detection_batch(masks=kind == 'mask')
    features = None if kind == 'reppoints' else [f'neck.{i}' for i in range(4)]
    losses = losses_of(build(kind, teacher, features=features), batch)
    assert len(names_of(losses)) == (5 if kind == 'reppoints' else 4)
    assert all(torch.isfinite(losses[name]) for name in names_of(losses))


def test_channels_are_found_and_adapted(batch):
    losses = build(
        student_features=['backbone.2', 'backbone.3'], teacher_features=['backbone.2', 'backbone.3']
    ).distiller
    assert [loss.channels for loss in losses.distill_losses.values()] == [(16, 32), (32, 64)]


def test_a_segmentor_can_be_distilled_so_too():
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = build_distillation(tiny_model(4, 'BN'), dict(type='DMKDDistiller', features='backbone.3'))
    assert list(model.distiller.distill_losses) == ['loss_dmkd_0']


def test_padding_is_read_from_the_batch(batch):
    """With a padded image the two differ; without padding they are equal."""
    same = detection_batch()
    for data, equal in ((same, True), (batch, False)):
        losses = [
            losses_of(build(select='top', pad_aware=aware, loss_weight=1.0).eval(), data)
            for aware in (False, True)
        ]
        found = [
            torch.isclose(losses[0][f'distill.loss_dmkd_{i}'], losses[1][f'distill.loss_dmkd_{i}'])
            for i in range(2)
        ]
        assert all(found) if equal else not any(found)


@pytest.mark.parametrize('aware', [False, True])
def test_levels_of_padding_alone_train(aware):
    """A tiny image next to a large one: its levels are nearly all padding; then one without a pixel."""
    batch = detection_batch(((128, 128), (16, 16)), objects=0)
    model = build(pad_aware=aware, loss_weight=1.0)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    for size in ((16, 16), (0, 0)):
        data['data_samples'][1].set_metainfo(dict(img_shape=size))
        losses = model(**data, mode='loss')
        assert all(torch.isfinite(losses[name]) for name in names_of(losses))
        model.zero_grad()
        sum(losses[name] for name in names_of(losses)).backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_weights_and_schedules(batch):
    model = build(
        loss_weight=dict(type='auto', ratio=1.0), features=['neck.0', 'neck.1'], schedule=dict(begin=1)
    )
    assert {name: auto.ratio for name, auto in model.distiller.auto_weights.items()} == dict(
        loss_dmkd_0=0.5, loss_dmkd_1=0.5
    )
    assert not names_of(losses_of(model, batch))
    assert len(names_of(losses_of(model, batch))) == 2
    off = build(loss_weight=0.0)
    off.teacher.run = None  # not called: every weight is 0
    assert not names_of(losses_of(off, batch))


def test_the_fusion_has_no_decay_where_the_config_says_so():
    from mmengine.config import Config
    from toys import ROOT

    cfg = Config.fromfile(ROOT / 'configs/dmkd/dmkd_retinanet_r18_retinanet_r18-w16_scenescoco.py')
    model = build()
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    fusions = {id(loss.fusion) for loss in model.distiller.distill_losses.values()}
    assert {decay[i] for i in fusions} == {0.0}
    assert all(decay[id(p)] > 0 for p in model.parameters() if id(p) not in fusions)


def test_nothing_of_it_is_in_the_student():
    model = build()
    assert any('generation' in name for name in model.state_dict())
    words = ('generation', 'fusion', 'align')
    assert not any(word in name for name in model.architecture.state_dict() for word in words)


@pytest.mark.parametrize(
    ('cfg', 'error', 'message'),
    [
        (dict(ratio=0.5), KeyError, r"distiller: DMKDDistiller takes no \['ratio'\]. .*'spatial_ratio'"),
        (dict(student_channels=8), KeyError, r"takes no \['student_channels'\]"),
        (
            dict(select='first'),
            ValueError,
            "distiller: select='first' is not known. Possible: 'sample', 'top'",
        ),
        (dict(pad_aware='yes'), TypeError, "distiller: pad_aware must be True or False. Got: 'yes'"),
        (dict(loss_weight='heavy'), TypeError, "the weight must be a number, 'auto'"),
        (dict(loss_weight=dict(type='auto', ratio='1')), ValueError, "distiller.loss_weight: .*, 'auto' or"),
        (dict(loss_weight=dict(ratio=0.3)), ValueError, r"distiller.loss_weight: .* got \{'ratio': 0.3\}"),
        (dict(schedule=dict(start=3)), KeyError, r"a schedule has no \['start'\]"),
        (dict(student_features=['neck.0']), ValueError, r"has 1 levels \['neck.0'\], the teacher 5"),
        (dict(features=['neck.7']), ValueError, 'index 7 is out of range'),
        (dict(features=['nek.0']), KeyError, "no module 'nek.0' in the student"),
        (dict(features=5), TypeError, 'distiller.features: expected taps such as'),
    ],
)
def test_mistakes_are_named(cfg, error, message):
    with pytest.raises(error, match=message):
        build(**cfg)


@pytest.mark.parametrize('aware', [False, True])
def test_levels_of_other_sizes_are_named(aware):
    sizes = 'must be of one size. .*student 1x8x8x8, teacher 1x8x4x4'
    with pytest.raises(ValueError, match=sizes):
        build(student_features=['neck.0'], teacher_features=['neck.1'], pad_aware=aware)


def test_a_network_without_neck_says_what_to_name():
    with DefaultScope.overwrite_default_scope('mmseg'):
        with pytest.raises(ValueError, match='has no neck that returns levels. Name the taps'):
            build_distillation(tiny_model(4, 'BN'), dict(type='DMKDDistiller'))


def test_a_failed_dry_run_is_told():
    """SSD's levels shrink to nothing on a small image."""
    from mmengine.hub import get_config

    ssd = dict(get_config('mmdet::ssd/ssd300_coco.py').model.to_dict(), _scope_='mmdet')
    ssd['backbone']['init_cfg'] = None
    with pytest.raises(
        ValueError, match='no neck that returns levels \\(the dry run of .* ended with .*model.dry_run_size'
    ):
        build(ssd, ssd)
