"""Records are what the module returned, although a later layer works in place."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module(force=True)
class InPlaceNet(BaseModel):
    """The convolution's output is changed in place: always, or (``late``) in training only; dropout may be in
    place too.
    """

    def __init__(self, late=False, dropout=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.late = late
        self.dropout = nn.Dropout(0.5, inplace=True) if dropout else nn.Identity()
        self.conv_seg = nn.Conv2d(4, 2, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = self.conv(inputs)
        if self.training or not self.late:
            x.mul_(2).relu_()
        out = self.conv_seg(self.dropout(x * 1))
        return dict(loss=out.square().mean()) if mode == 'loss' else out


def algorithm(student, teacher=None, kind='ModuleOutputs', source='conv'):
    recorders = dict(tap=dict(type=kind, source=source))
    pair = dict(
        s_feature=dict(recorder='tap', from_student=True), t_feature=dict(recorder='tap', from_student=False)
    )
    if kind == 'ModuleInputs':
        pair = {k: dict(v, data_idx=0) for k, v in pair.items()}
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='FrozenTeacherDistill',
            architecture=student,
            teacher=teacher or student,
            distiller=dict(
                type='mmrazor.ConfigurableDistiller',
                student_recorders=recorders,
                teacher_recorders=recorders,
                distill_losses=dict(loss_l2=dict(type='L2Loss')),
                loss_forward_mappings=dict(loss_l2=pair),
            ),
        )
    ).train()


def recorded(model, inputs):
    """What the student's and teacher's recorders held, and the gradient of the objective in the student."""
    kept = {}
    loss_module = model.distiller.distill_losses['loss_l2']
    loss_module.register_forward_pre_hook(
        lambda m, a, k: kept.update({n: v for n, v in k.items()}), with_kwargs=True
    )
    losses = model(inputs, mode='loss')
    return kept, losses


@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_outputs_changed_in_place_are_kept():
    cfg = dict(type='InPlaceNet')
    model = algorithm(cfg)
    inputs = torch.randn(2, 3, 4, 4)
    kept, losses = recorded(model, inputs)
    for side, network in (('s_feature', model.student), ('t_feature', model.teacher.model)):
        torch.testing.assert_close(kept[side], network.conv(inputs), rtol=0, atol=0)
    assert kept['s_feature'].requires_grad
    # the rest of the network computes what it computes without a recorder, and gradients reach the layer
    # through both paths
    plain = MODELS.build(cfg).train()
    plain.load_state_dict(model.student.state_dict())
    torch.testing.assert_close(losses['student.loss'], plain(inputs, mode='loss')['loss'])
    (task,) = torch.autograd.grad(losses['student.loss'], model.student.conv.weight, retain_graph=True)
    (expected,) = torch.autograd.grad(plain(inputs, mode='loss')['loss'], plain.conv.weight)
    torch.testing.assert_close(task, expected)
    (distilled,) = torch.autograd.grad(losses['distill.loss_l2'], model.student.conv.weight)
    assert distilled.abs().sum() > 0


@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_a_change_in_training_only_is_an_error_that_names_the_module():
    model = algorithm(dict(type='InPlaceNet', late=True))
    with pytest.raises(ValueError, match=r"'conv' of the student \(InPlaceNet\) returns is changed in place"):
        model(torch.randn(1, 3, 4, 4), mode='loss')


@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_inputs_changed_by_their_own_module_are_kept():
    model = algorithm(dict(type='InPlaceNet', dropout=True), kind='ModuleInputs', source='dropout')
    inputs = torch.randn(2, 3, 4, 4)
    kept, _ = recorded(model, inputs)
    expected = (model.student.conv(inputs) * 2).relu()
    torch.testing.assert_close(kept['s_feature'], expected)
    assert kept['s_feature'].requires_grad


@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_without_in_place_layers_nothing_is_cloned(distill, batch, losses_of):
    model = distill()
    losses_of(model, batch())
    assert not model.recorder.clone and not model.teacher.recorder.clone
