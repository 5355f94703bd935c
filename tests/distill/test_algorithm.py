import gc
import warnings
import weakref

import pytest
import torch
from mmengine.registry import MODELS

from kd_methods.distill.algorithm import FrozenTeacherDistill


def test_losses_are_the_tasks_and_the_distillers(distill, batch, losses_of):
    losses = losses_of(distill(), batch())
    assert {'student.decode.loss_ce', 'distill.loss_kd'} <= set(losses)


def test_predictions_are_the_students(distill, batch):
    model = distill().eval()
    data = batch(1)
    expected = model.student.val_step(batch(1))[0].seg_logits.data
    assert torch.equal(model.val_step(data)[0].seg_logits.data, expected)


def test_identical_networks_distil_nothing(distill, batch, losses_of, segmentor):
    model = distill(teacher=segmentor(4))
    model.teacher.model.load_state_dict(model.student.state_dict())
    model.student.eval()
    assert losses_of(model, batch())['distill.loss_kd'].abs() < 1e-6


def test_without_task_loss_only_distillation_trains(distill, batch, losses_of):
    losses = losses_of(distill(calculate_student_loss=False), batch())
    assert list(losses) == ['distill.loss_kd']


def test_a_student_that_is_not_trainable_trains_adapters_alone(distill, batch, losses_of, segmentor):
    pair = dict(
        s_feature=dict(recorder='f', from_student=True, connector='adapt'),
        t_feature=dict(recorder='f', from_student=False),
    )
    cfg = dict(
        type='MethodDistiller',
        taps=dict(f='features'),
        connectors=dict(adapt=dict(type='ConvModuleConnector', in_channel=8, out_channel=16)),
        distill_losses=dict(loss_l2=dict(type='L2Loss')),
        loss_forward_mappings=dict(loss_l2=pair),
    )
    model = distill(distiller=cfg, student_trainable=False, calculate_student_loss=False)
    before = {k: v.clone() for k, v in model.student.state_dict().items()}
    loss, _ = model.parse_losses(losses_of(model, batch()))
    loss.backward()
    assert all(
        torch.equal(v, before[k]) for k, v in model.student.state_dict().items()
    )  # batch statistics included
    assert all(p.grad is None for p in model.student.parameters())
    assert all(p.grad is not None for p in model.distiller.parameters())


def test_nothing_to_train_is_said_at_once(distill):
    cfg = dict(
        type='MethodDistiller',
        taps=dict(f='backbone.0'),
        distill_losses=dict(loss_same=dict(type='L2Loss')),
        loss_forward_mappings=dict(
            loss_same=dict(
                s_feature=dict(recorder='f', from_student=True),
                t_feature=dict(recorder='f', from_student=True),
            )
        ),
    )
    with pytest.raises(
        ValueError,
        match='model.student_trainable=False leaves nothing to train: this distiller has no layers',
    ):
        distill(distiller=cfg, student_trainable=False)


def test_ground_truth_reaches_a_loss(distill, batch, losses_of):

    class LabelLoss(torch.nn.Module):
        def forward(self, logits, label, images):
            self.stats = dict(seen=label.float().mean())
            assert label.shape == (len(images), *images.shape[2:]) and images.shape[1] == 3
            return logits.mean() * 0

    MODELS.register_module(name='LabelLoss', module=LabelLoss, force=True)
    mapping = dict(
        logits=dict(recorder='t', from_student=True),
        label=dict(from_data='gt_sem_seg'),
        images=dict(from_data='inputs'),
    )
    model = distill(
        distiller=dict(
            type='MethodDistiller',
            taps=dict(t='logits'),
            distill_losses=dict(loss_x=dict(type='LabelLoss')),
            loss_forward_mappings=dict(loss_x=mapping),
        )
    )
    data = batch()
    expected = torch.stack([s.gt_sem_seg.data for s in data['data_samples']]).float().mean()
    losses = losses_of(model, data)
    assert torch.equal(losses['distill.x_seen'], expected)

    model.distiller.loss_forward_mappings['loss_x']['label'] = dict(from_data='gt_depth')
    with pytest.raises(KeyError, match="from_data='gt_depth'.*gt_sem_seg"):
        losses_of(model, batch())


def test_records_do_not_outlive_the_step(distill, batch, losses_of):
    model = distill()
    kept = []
    classifier = model.student.decode_head.conv_seg
    classifier.register_forward_hook(lambda m, i, o: kept.append(weakref.ref(o)))
    losses_of(model, batch())
    gc.collect()
    assert len(kept) == 1 and kept[0]() is None


def test_several_methods_share_one_pass_of_the_teacher(distill, batch, losses_of, distiller_cfg, segmentor):
    model = distill(
        student=segmentor(4, dropout=0),
        distiller=dict(
            type='ComposedDistiller',
            distillers=dict(kd=distiller_cfg(), cwd=distiller_cfg(loss=dict(type='ChannelWiseDivergence'))),
        ),
    )
    calls = []
    model.teacher.model.backbone.register_forward_hook(lambda m, i, o: calls.append(1))
    losses = losses_of(model, batch())
    alone = {
        name: losses_of(distill(student=segmentor(4, dropout=0), distiller=cfg), batch())['distill.loss_kd']
        for name, cfg in (
            ('kd', distiller_cfg()),
            ('cwd', distiller_cfg(loss=dict(type='ChannelWiseDivergence'))),
        )
    }
    assert len(calls) == 1
    assert {k for k in losses if k.startswith('distill')} == {'distill.kd.loss_kd', 'distill.cwd.loss_kd'}
    for name, value in alone.items():
        torch.testing.assert_close(losses[f'distill.{name}.loss_kd'], value)


def test_two_losses_of_one_name_are_refused(distill, distiller_cfg):
    with pytest.raises(ValueError, match="two distillers have a loss 'loss_kd'.*as a dict"):
        distill(distiller=dict(type='ComposedDistiller', distillers=[distiller_cfg(), distiller_cfg()]))


def test_student_is_found_under_mmrazors_names(distill):
    model = distill()
    assert model.student is model.architecture and isinstance(model, FrozenTeacherDistill)
    assert hasattr(model, 'distillation_stopped')


@pytest.mark.parametrize(
    'keys,error,text',
    [
        (dict(algorithm=dict()), ValueError, 'MMRazor 0.x'),
        (dict(teacher_trainable=True), ValueError, 'is frozen'),
        (dict(teacher_norm_eval=False), ValueError, 'eval mode'),
        (dict(teacher_preprocessor='both'), ValueError, "teacher_preprocessor='both' is not known"),
        (dict(teacher_chkpt='x.pth'), TypeError, "takes no \\['teacher_chkpt'\\]"),
        (
            dict(teacher_ckpt='nowhere/best.pth'),
            FileNotFoundError,
            "teacher_ckpt: no file 'nowhere/best.pth'",
        ),
    ],
)
def test_mistakes_are_named(distill, keys, error, text):
    with pytest.raises(error, match=text):
        distill(**keys)


def test_a_tap_in_a_frozen_stage_is_named(distill, batch, losses_of, segmentor, distiller_cfg):
    student = segmentor(4)
    student['backbone']['frozen_stages'] = 1
    model = distill(
        student=student, teacher=segmentor(4), distiller=distiller_cfg('backbone.0', dict(type='PKDLoss'))
    )
    with pytest.raises(
        ValueError, match=r'distill.loss_kd teaches the student nothing.*backbone\[0\].*frozen'
    ):
        losses_of(model, batch())


def test_adapters_of_a_composition_are_initialised(distill, segmentor):
    init = dict(type='Constant', layer='Conv2d', val=0.25)
    cfg = dict(
        type='MethodDistiller',
        taps=dict(f='features'),
        distill_losses=dict(loss_l2=dict(type='L2Loss')),
        connectors=dict(
            adapt=dict(
                type='TorchNNConnector',
                module_name='Conv2d',
                init_cfg=init,
                module_args=dict(in_channels=8, out_channels=16, kernel_size=1),
            )
        ),
        loss_forward_mappings=dict(
            loss_l2=dict(
                s_feature=dict(recorder='f', from_student=True, connector='adapt'),
                t_feature=dict(recorder='f', from_student=False),
            )
        ),
    )
    for distiller in (cfg, dict(type='ComposedDistiller', distillers=[cfg])):
        model = distill(distiller=distiller)
        model.init_weights()
        (leaf,) = model.named_distillers().values()
        assert (next(leaf.connectors['adapt'].parameters()) == 0.25).all()


def test_one_object_cannot_be_both_networks(segmentor, distiller_cfg):
    network = MODELS.build(segmentor())
    with pytest.raises(ValueError, match='the very network'):
        MODELS.build(
            dict(
                type='FrozenTeacherDistill', architecture=network, teacher=network, distiller=distiller_cfg()
            )
        )


@pytest.mark.parametrize('missing', ['teacher', 'distiller'])
def test_missing_parts_are_named(segmentor, distiller_cfg, missing):
    cfg = dict(
        type='FrozenTeacherDistill', architecture=segmentor(), teacher=segmentor(), distiller=distiller_cfg()
    )
    cfg.pop(missing)
    with pytest.raises(ValueError, match=f'model.{missing} is missing'):
        MODELS.build(cfg)


def test_a_teacher_without_checkpoint_is_warned_about(segmentor, distiller_cfg):
    with pytest.warns(UserWarning, match='teacher_ckpt is not set'):
        MODELS.build(
            dict(
                type='FrozenTeacherDistill',
                architecture=segmentor(),
                teacher=segmentor(),
                distiller=distiller_cfg(),
            )
        )


def test_init_weights_keeps_a_loaded_teacher(segmentor, distiller_cfg, tmp_path):
    teacher = MODELS.build(segmentor(8))
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'teacher.pth')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', message='Default ``avg_non_ignore``')
        model = MODELS.build(
            dict(
                type='FrozenTeacherDistill',
                architecture=segmentor(4),
                teacher=segmentor(8),
                distiller=distiller_cfg(),
                teacher_ckpt=str(tmp_path / 'teacher.pth'),
            )
        )
    model.init_weights()
    assert all(torch.equal(v, teacher.state_dict()[k]) for k, v in model.teacher.model.state_dict().items())
