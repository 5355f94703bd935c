"""mmdet's detectors under the training step: one-stage, two-stage, cascade, with mask heads."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from toys import losses_of
from toys_det import SIZE, build_detection, detection_batch, tiny_detector

from kd_methods.networks.config import build_network, clear_pretrained, resolve_model_cfg
from kd_methods.networks.probe import probe_network

KINDS = ('retinanet', 'reppoints', 'solo', 'faster', 'mask', 'cascade', 'cascade_mask')
PKD = dict(
    type='MethodDistiller',
    taps={f'level_{i}': f'neck.{i}' for i in range(3)},
    distill_losses={f'loss_{i}': dict(type='mmrazor.PKDLoss') for i in range(3)},
    loss_forward_mappings={
        f'loss_{i}': dict(
            preds_S=dict(recorder=f'level_{i}', from_student=True),
            preds_T=dict(recorder=f'level_{i}', from_student=False),
        )
        for i in range(3)
    },
)
MIXED = ((64, 48), (40, 64))  # padded to 64 x 64


@pytest.fixture(autouse=True)
def detection_scope(segmentation_scope):
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def calls_of(model, batch):
    """Names of the modules of the teacher that ran in one forward, and the losses."""
    names = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: names.append(name))
        for name, module in model.teacher.model.named_modules()
        if name
    ]
    losses = losses_of(model, batch)
    for handle in handles:
        handle.remove()
    return names, losses


def total(losses):
    return sum(
        value.mean() if torch.is_tensor(value) else sum(v.mean() for v in value)
        for name, value in losses.items()
        if 'loss' in name
    )


@pytest.mark.parametrize('kind', KINDS)
def test_the_teacher_stops_after_its_neck(kind):
    model = build_detection(PKD, 'faster' if 'cascade' in kind or kind in ('mask', 'solo') else kind, kind)
    names, losses = calls_of(
        model, detection_batch(MIXED)
    )  # no masks: only a teacher's heads could want them
    assert {name.split('.')[0] for name in names} == {'backbone', 'neck'}
    assert {f'distill.loss_{i}' for i in range(3)} <= set(losses)
    total(losses).backward()
    assert model.architecture.backbone.stem[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teacher.model.parameters())


@pytest.mark.parametrize('kind', KINDS)
def test_a_detector_of_any_kind_is_a_student(kind):
    model = build_detection(PKD, kind, 'retinanet')
    batch = detection_batch(MIXED, masks='mask' in kind or kind == 'solo')
    losses = losses_of(model, batch)
    assert all(torch.isfinite(total({name: value})) for name, value in losses.items() if 'loss' in name)
    plain = copy.deepcopy(model.architecture)
    names = {f'student.{name}' for name in plain(**_student_data(model, batch), mode='loss')}
    assert names < set(losses)


def _student_data(model, batch):
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    return dict(inputs=data['inputs'], data_samples=data['data_samples'])


def test_what_is_recorded_is_the_neck_of_each_network():
    model = build_detection(PKD, 'retinanet')
    model.eval()  # batch statistics stay, so that a second forward gives the same
    batch = detection_batch()
    losses = losses_of(model, batch)
    inputs = model.data_preprocessor(copy.deepcopy(batch), True)['inputs']
    pkd = MODELS.build(dict(type='mmrazor.PKDLoss'))
    with torch.no_grad():
        expected = pkd(
            model.architecture.extract_feat(inputs)[1], model.teacher.model.extract_feat(inputs)[1]
        )
    torch.testing.assert_close(losses['distill.loss_1'], expected)


@pytest.mark.parametrize('kind', ['retinanet', 'reppoints', 'faster', 'mask'])
def test_images_without_objects_train(kind):
    distiller = dict(type='DMKDDistiller', features=[f'neck.{i}' for i in range(4)])
    model = build_detection(distiller, kind)
    losses = losses_of(model, detection_batch(objects=0, masks=kind == 'mask'))
    total(losses).backward()
    values = [v for value in losses.values() for v in (value if isinstance(value, list) else [value])]
    assert all(torch.isfinite(v).all() for v in values)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_dry_run_of_a_two_stage_detector_ends_at_its_proposals():
    """Its heads on hundreds of proposals would take longer than everything else together."""
    network = build_network(tiny_detector('cascade_mask'))
    probe = probe_network(network, size=(SIZE, SIZE))
    assert probe.error is None
    assert len(probe.firings['neck'][0].outputs) == 5 and len(probe.firings['rpn_head.rpn_cls']) == 5
    assert not any(name.startswith('roi_head') for name in probe.firings)
    assert not any(m._forward_pre_hooks for m in network.modules())


def test_taps_behind_proposals_are_refused():
    distiller = copy.deepcopy(PKD)
    distiller['taps']['level_0'] = 'roi_head.bbox_head.shared_fcs.0'
    with pytest.raises(ValueError, match='lies behind the proposals of the student'):
        build_detection(distiller, 'faster')


def test_the_shared_head_of_a_one_stage_teacher_is_reached_at_every_level():
    """A tap of the head keeps the teacher running up to the head's last level, and no further."""
    distiller = dict(
        type='MethodDistiller',
        taps=dict(cls='bbox_head.retina_cls'),
        distill_losses=dict(loss_kd=dict(type='mmrazor.PKDLoss')),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(recorder='cls', from_student=True, record_idx=4),
                preds_T=dict(recorder='cls', from_student=False, record_idx=4),
            )
        ),
    )
    model = build_detection(distiller, 'retinanet')
    names, losses = calls_of(model, detection_batch())
    assert names.count('bbox_head.retina_cls') == 5 and names[-1] in (
        'bbox_head.retina_cls',
        'bbox_head.retina_reg',
    )
    assert torch.isfinite(losses['distill.loss_kd'])


@pytest.mark.parametrize('kind', ['retinanet', 'mask'])
def test_it_predicts_as_its_student_does(kind):
    model = build_detection(PKD, kind, 'retinanet').eval()
    batch = detection_batch(MIXED)
    with torch.no_grad():
        found = model.test_step(copy.deepcopy(batch))
        alone = model.architecture.eval().test_step(copy.deepcopy(batch))
    for a, b in zip(found, alone):
        assert torch.equal(a.pred_instances.bboxes, b.pred_instances.bboxes)
        assert torch.equal(a.pred_instances.scores, b.pred_instances.scores)


def test_a_teacher_that_pads_to_another_size_is_refused():
    teacher = tiny_detector('retinanet', 8)
    teacher['data_preprocessor'].update(pad_size_divisor=128)
    model = build_detection(PKD, 'retinanet', teacher)
    with pytest.raises(ValueError, match='teacher.data_preprocessor pads this batch'):
        losses_of(model, detection_batch())


def test_fbkds_connectors_are_left_as_their_constructor_made_them():
    """Their non-local blocks cannot be initialised again."""
    connectors = {
        side: dict(
            type=f'mmrazor.FBKD{side.title()}Connector', in_channels=8, mode='dot_product', sub_sample=True
        )
        for side in ('student', 'teacher')
    }
    model = build_detection(
        dict(
            type='MethodDistiller',
            taps=dict(level='neck.0'),
            connectors=connectors,
            distill_losses=dict(loss_fbkd=dict(type='mmrazor.FBKDLoss')),
            loss_forward_mappings=dict(
                loss_fbkd=dict(
                    s_input=dict(recorder='level', from_student=True, connector='student'),
                    t_input=dict(recorder='level', from_student=False, connector='teacher'),
                )
            ),
        )
    )
    before = copy.deepcopy(model.distiller.connectors['student'].state_dict())
    model.init_weights()
    assert all(
        torch.equal(value, before[key])
        for key, value in model.distiller.connectors['student'].state_dict().items()
    )
    assert losses_of(model, detection_batch())['distill.loss_fbkd'] > 0


@pytest.mark.parametrize(
    'recipe',
    [
        'pkd/pkd_fpn_faster-rcnn_r101_faster-rcnn_r50_2x_coco',
        'cwd/cwd_fpn_retina_r101_retina_r50_1x_coco',
        'mgd/mgd_fpn_retina_x101_retina_r50_2x_coco',
        'fbkd/fbkd_fpn_faster-rcnn_r101_faster-rcnn_r50_1x_coco',
    ],
)
def test_mmrazors_recipes_run_after_a_change_of_type(recipe):
    """As its package has them, but for downloads and the width of the backbones."""
    model = get_config(f'mmrazor::distill/mmdet/{recipe}.py').model
    model.update(type='FrozenTeacherDistill', teacher_ckpt=None)
    thin = dict(depth=50, base_channels=8, stem_channels=8)
    for side in ('architecture', 'teacher'):
        groups = dict(groups=2) if 'x101' in recipe and side == 'teacher' else {}
        overrides = dict(
            downloads=False, backbone=dict(thin, **groups), neck=dict(in_channels=[32, 64, 128, 256])
        )
        if 'cfg_path' not in model[side]:  # MGD's student, a whole model
            model[side] = Config._merge_a_into_b(
                {k: v for k, v in overrides.items() if k != 'downloads'}, model[side]
            )
            clear_pretrained(model[side])
            overrides = {}
        model[side] = resolve_model_cfg(dict(model[side], **overrides), side)
    built = MODELS.build(model).train()
    losses = losses_of(built, detection_batch(((160, 160),)))
    names = set(built.distiller.distill_losses)
    assert names and all(losses[f'distill.{name}'] > 0 for name in names)
    assert built.teacher.mode == 'tensor'


def test_a_loss_on_all_calls_of_a_shared_head_is_the_sum_over_them():
    def cwd(*taps):
        names = [f'loss_{i}' for i in range(len(taps))]
        entries = [
            {a: dict(recorder=f't{i}', from_student=a == 'preds_S') for a in ('preds_S', 'preds_T')}
            for i in range(len(taps))
        ]
        return dict(
            type='MethodDistiller',
            taps={f't{i}': tap for i, tap in enumerate(taps)},
            distill_losses={name: dict(type='mmrazor.ChannelWiseDivergence') for name in names},
            loss_forward_mappings=dict(zip(names, entries)),
        )

    batch = detection_batch(MIXED)
    head = 'bbox_head.retina_cls'
    whole = build_detection(cwd(f'{head}@all'))
    levels = build_detection(cwd(*(f'{head}@{i}' for i in range(5))))
    kept = []
    hook = lambda module, args, out: kept.extend(out)  # noqa: E731
    handle = whole.student.neck.register_forward_hook(hook)
    total_, each = losses_of(whole, batch)['distill.loss_0'], losses_of(levels, batch)
    handle.remove()
    torch.testing.assert_close(total_, sum(each[f'distill.loss_{i}'] for i in range(5)))
    grads = torch.autograd.grad(total_, kept)
    seen = [grad.abs().sum() > 0 for grad in grads]
    assert seen == [True, True, True, False, False], 'the softmax over the one place of the last two is 1'
    assert whole.connections[0].places('teacher') == {('ModuleOutputs', head): {*range(5)}}
    first = build_detection(cwd(f'{head}@0'))
    assert first.connections[0].places('teacher') == {('ModuleOutputs', head): {0}}
    names, _ = calls_of(first, batch)
    assert names.count(head) == 1, 'the teacher stops after the last call that is read'


def test_a_recorder_of_mmrazor_without_a_call_on_a_shared_head_is_refused():
    recorder = dict(cls=dict(type='mmrazor.ModuleOutputs', source='bbox_head.retina_cls'))
    entries = {a: dict(recorder='cls', from_student=a == 'preds_S') for a in ('preds_S', 'preds_T')}
    cfg = dict(
        type='mmrazor.ConfigurableDistiller',
        student_recorders=recorder,
        teacher_recorders=recorder,
        distill_losses=dict(loss_cwd=dict(type='mmrazor.ChannelWiseDivergence')),
        loss_forward_mappings=dict(loss_cwd=entries),
    )
    with pytest.raises(ValueError, match="recorder 'cls': .*calls this module 5 times.*record_idx=0 to 4"):
        build_detection(cfg)
    chosen = {a: dict(entry, record_idx=2) for a, entry in entries.items()}
    model = build_detection(dict(cfg, loss_forward_mappings=dict(loss_cwd=chosen)))
    assert losses_of(model, detection_batch(MIXED))['distill.loss_cwd'] > 0
