"""Promises about the teacher: frozen, whole in eval mode, out of everything that trains or is saved."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from kd_methods.distill.teacher import FrozenTeacher


def steps(model, batch, n=3):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    for seed in range(n):
        model.train()
        model.train_step(batch(seed=seed), wrapper)


def test_bit_identical_after_training(distill, batch):
    model = distill()
    before = copy.deepcopy(model.teacher.model.state_dict())
    student = copy.deepcopy(model.student.state_dict())
    steps(model, batch)
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.model.state_dict().items())
    assert any(
        not torch.equal(v, student[k]) for k, v in model.student.state_dict().items()
    )  # something was trained


def test_every_layer_stays_in_eval_mode(distill, batch):
    model = distill()
    model.train()
    steps(model, batch, 1)
    assert not any(m.training for m in model.teacher.model.modules())
    assert all(m.training for m in model.student.modules())


def test_is_in_no_state_dict_and_no_module_list(distill):
    model = distill()
    assert not [k for k in model.state_dict() if 'teacher' in k]
    ids = {id(p) for p in model.parameters()} | {id(b) for b in model.buffers()}
    assert not ids & {id(p) for p in model.teacher.model.parameters()}
    assert not any(m is model.teacher.model for m in model.modules())


def test_is_not_in_the_optimizer(distill):
    model = distill()
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=0.1)))
    listed = {id(p) for group in wrapper.param_groups for p in group['params']}
    assert listed == {id(p) for p in model.parameters()}
    assert not listed & {id(p) for p in model.teacher.model.parameters()}
    assert not any(p.requires_grad for p in model.teacher.model.parameters())


def test_ema_shares_the_teacher(distill, batch):
    model = distill()
    ema = ExponentialMovingAverage(model, momentum=0.5)
    assert ema.module.teacher is model.teacher and ema.module.teacher.model is model.teacher.model
    assert not [k for k in ema.state_dict() if 'teacher' in k]
    assert ema.module.student is not model.student
    copied = sum(p.numel() for p in _reachable_parameters(ema.module, skip=model.teacher))
    assert copied == sum(p.numel() for p in model.parameters())  # not hidden in an attribute either
    steps(model, batch, 1)
    ema.update_parameters(model)


def test_an_average_on_another_device_leaves_the_teacher_where_it_is(distill):
    model = distill()
    copied = copy.deepcopy(
        model
    ).double()  # what EMAHook(device=...) does, with another dtype in place of a device
    assert all(p.dtype == torch.float64 for p in copied.student.parameters())
    assert all(p.dtype == torch.float32 for p in model.teacher.model.parameters())


def test_is_not_in_ddp(distill, tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/init', rank=0, world_size=1)
    try:
        model = distill()
        wrapped = MMDistributedDataParallel(model)
        assert not [n for n, _ in wrapped.named_parameters() if 'teacher' in n]
        assert len(list(wrapped.parameters())) == len(list(model.parameters()))
    finally:
        torch.distributed.destroy_process_group()


def test_follows_a_move_of_the_model(distill):
    model = distill()
    model.double()
    assert all(p.dtype == torch.float64 for p in model.teacher.model.parameters())
    model.to('cpu', torch.float32)
    assert all(p.dtype == torch.float32 for p in model.teacher.model.parameters())


def test_gets_no_gradient(distill, batch, losses_of):
    model = distill()
    loss, _ = model.parse_losses(losses_of(model, batch()))
    loss.backward()
    assert all(p.grad is None for p in model.teacher.model.parameters())
    assert all(p.grad is not None for p in model.student.parameters())


def test_stops_after_its_last_tap(distill, batch, losses_of, distiller_cfg, segmentor):
    model = distill(distiller=distiller_cfg('backbone.1', dict(type='PKDLoss')), teacher=segmentor(4))
    ran = []
    for name, module in model.teacher.model.named_modules():
        module.register_forward_pre_hook(lambda m, i, name=name: ran.append(name))
    losses_of(model, batch())
    assert 'backbone' in ran and 'decode_head' not in ran
    assert torch.isfinite(losses_of(model, batch())['distill.loss_kd'])


def test_stopping_early_changes_no_record(distill, batch, losses_of):
    model = distill()
    model.student.eval()  # no dropout
    early = losses_of(model, batch())['distill.loss_kd']
    model.teacher.recorder.stop = False
    assert torch.equal(losses_of(model, batch())['distill.loss_kd'], early)


def test_a_tap_out_of_reach_runs_the_whole_teacher_with_a_warning(distill, batch, losses_of, segmentor):
    recorders = dict(aux=dict(type='ModuleOutputs', source='auxiliary_head.conv_seg'))
    pair = dict(
        preds_S=dict(recorder='aux', from_student=True), preds_T=dict(recorder='aux', from_student=False)
    )
    cfg = dict(
        type='mmrazor.ConfigurableDistiller',
        student_recorders=recorders,
        teacher_recorders=recorders,
        distill_losses=dict(loss_aux=dict(type='ChannelWiseDivergence')),
        loss_forward_mappings=dict(loss_aux=pair),
    )
    with pytest.warns(UserWarning, match="mode='loss'.*auxiliary_head.conv_seg.*not reached"):
        model = distill(distiller=cfg, student=segmentor(4, aux=True), teacher=segmentor(8, aux=True))
    assert model.teacher.mode == 'loss'
    assert torch.isfinite(losses_of(model, batch())['distill.loss_aux'])


@pytest.mark.parametrize(
    'precision,dtype', [('same', torch.float32), ('fp32', torch.float32), ('bf16', torch.bfloat16)]
)
def test_own_precision(distill, batch, losses_of, precision, dtype):
    model = distill(teacher_precision=precision)
    seen = []
    model.teacher.model.decode_head.conv_seg.register_forward_pre_hook(lambda m, i: seen.append(None))
    model.teacher.model.decode_head.convs[0].conv.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    model.student.decode_head.convs[0].conv.register_forward_hook(
        lambda m, i, o: seen.append(('student', o.dtype))
    )
    losses = losses_of(model, batch())
    assert dtype in seen and ('student', torch.float32) in seen
    assert torch.isfinite(losses['distill.loss_kd'])


def test_fp32_is_kept_under_autocast(distill, batch, losses_of):
    model = distill(teacher_precision='fp32')
    seen = []
    model.teacher.model.decode_head.convs[0].conv.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses_of(model, batch())
    assert seen == [torch.float32]


def test_unknown_precision_is_refused(segmentor):
    with pytest.raises(ValueError, match="teacher_precision: 'half' is none of"):
        FrozenTeacher(MODELS.build(segmentor(4)), 'half')


def test_is_not_run_when_no_loss_counts(distill, batch, losses_of, distiller_cfg):
    schedule = dict(loss_kd=dict(end=1))
    for model, expected in (
        (distill(distiller=distiller_cfg(loss=dict(loss_weight=0.0))), [0, 0]),
        (distill(distiller=distiller_cfg(loss_schedules=schedule)), [1, 1]),
    ):
        calls = []
        model.teacher.model.backbone.register_forward_hook(lambda m, i, o, calls=calls: calls.append(1))
        counts = []
        for _ in range(2):
            losses = losses_of(model, batch())
            counts.append(len(calls))
        assert counts == expected
        assert not [k for k in losses if k.startswith('distill.loss')]


def test_stopping_distillation_stops_the_teacher(distill, batch, losses_of):
    model = distill()
    model.distillation_stopped = True  # as MMRazor's StopDistillHook does
    model.teacher.model.backbone.forward = None  # would fail if it ran
    assert not [k for k in losses_of(model, batch()) if k.startswith('distill')]


def test_a_validation_loop_can_test_the_teacher(distill, batch):
    data = batch(1)
    out = distill().teacher.val_step(data)
    assert out[0].pred_sem_seg.data.shape[-2:] == (64, 64)


def _reachable_parameters(module, skip):
    """Parameters of every module that hangs on a module in any way: sub-module, attribute, list, dict."""
    seen, found, stack = {id(skip)}, {}, [module]
    while stack:
        value = stack.pop()
        if (
            id(value) in seen
            or isinstance(value, (str, int, float, type))
            or callable(value)
            and not isinstance(value, nn.Module)
            and not hasattr(value, '__self__')
        ):
            continue
        seen.add(id(value))
        if isinstance(value, nn.Parameter):
            found[id(value)] = value
        elif isinstance(value, dict):
            stack += list(value.values())
        elif isinstance(value, (list, tuple, set)):
            stack += list(value)
        elif hasattr(value, '__dict__') and type(value).__module__.split('.')[0] in (
            'kd_methods',
            'mmseg',
            'mmengine',
            'mmrazor',
            'torch',
            'mmcv',
        ):
            if type(value).__name__ == 'Probe':
                continue  # shared by copies; points at the networks it describes
            stack += list(vars(value).values())
    return found.values()


def test_a_folded_teacher_follows_the_weights_that_it_loads(distill, batch, losses_of, tmp_path):
    first, other = distill(teacher_fold_bn=True), distill()
    losses_of(first, batch())  # folds
    with torch.no_grad():
        for parameter in other.teacher.model.parameters():
            parameter.mul_(1.1)
    torch.save(other.teacher.model.state_dict(), tmp_path / 'other.pth')
    first.teacher.load(str(tmp_path / 'other.pth'))
    torch.manual_seed(0)
    got = losses_of(first, batch())['distill.loss_kd']
    torch.manual_seed(0)
    torch.testing.assert_close(got, losses_of(other, batch())['distill.loss_kd'], rtol=1e-4, atol=1e-6)


def test_a_weight_that_finds_itself_in_a_student_that_lies_channels_last(distill, batch, losses_of):
    auto = dict(type='BCDDistiller', boundary=dict(loss_weight='auto'))
    found = []
    for channels_last in (False, True):
        model = distill(distiller=auto, student_channels_last=channels_last)
        torch.manual_seed(0)
        found.append(losses_of(model, batch())['distill.loss_boundary'])
    assert found[0] > 0
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    'options',
    [dict(teacher_fold_bn=True), dict(teacher_channels_last=True), dict(student_channels_last=True)],
    ids=str,
)
def test_faster_networks_learn_the_same(options, distill, batch, losses_of):
    losses = []
    for given in ({}, options):
        model = distill(distiller=dict(type='I2CKDDistiller', logit_kd=1.0), **given)
        for module in model.teacher.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
        torch.manual_seed(0)
        losses.append(losses_of(model, batch()))
    for name in ('distill.loss_i2ckd', 'distill.loss_kd'):
        assert losses[0][name] > 0
        torch.testing.assert_close(losses[0][name], losses[1][name], rtol=1e-4, atol=1e-6)
