"""What the check calls a gradient is what the optimizer gets; a loss that teaches nothing stops the run."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch import nn

from kd_methods.check.judge import judge_losses, ratio_of
from kd_methods.check.step import run_step
from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.distill.proof import TeachingProof

pytestmark = pytest.mark.usefixtures('segmentation_scope')


def check(model, data):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0))
    return run_step(model, data, wrapper)


def gradients(model, data):
    """Of the student's classifier in a step."""
    torch.manual_seed(0)
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    return model.student.decode_head.conv_seg.weight.grad.clone()


@pytest.mark.parametrize(
    'options', [dict(loss_weight=3.0), dict(loss_weight='auto'), dict(tau=4.0)], ids=['number', 'auto', 'tau']
)
def test_the_checks_gradient_is_what_the_optimizer_gets(distill, distiller_cfg, batch, options):
    """As the difference of the gradients at the logits of a step with the loss and of one without."""
    schedule = dict(loss_kd=dict(warmup=9))  # the step takes a tenth, the check full strength
    model = distill(distiller=distiller_cfg('logits', options, loss_schedules=schedule))
    model.student.decode_head.dropout = None
    data = batch()
    step = check(copy.deepcopy(model), data)
    (use,) = step.losses

    captured: list = []
    handle = model.student.decode_head.conv_seg.register_forward_hook(lambda m, i, o: captured.append(o))
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    handle.remove()
    seen = captured[0]
    total = torch.autograd.grad(model.parse_losses(losses)[0], seen, retain_graph=True)[0]
    losses.pop('distill.loss_kd')
    rest = torch.autograd.grad(model.parse_losses(losses)[0], seen)[0]
    assert use.grad == pytest.approx(float((total - rest).norm()) * 10, rel=1e-3)
    assert use.task == pytest.approx(float(rest.norm()), rel=1e-3)
    assert ratio_of(use) == pytest.approx(use.grad / use.task)


def test_a_value_that_the_objective_leaves_out_is_told(distill, batch, monkeypatch):
    """Here by a model that sums in its own way."""

    def parse_losses(self, losses):
        kept = {name: value for name, value in losses.items() if 'kd' not in name}
        return super(FrozenTeacherDistill, self).parse_losses(kept)

    monkeypatch.setattr(FrozenTeacherDistill, 'parse_losses', parse_losses)
    model = distill()
    (message,) = judge_losses(check(model, batch()), model.weights)
    assert 'loss_kd' in message and 'no part of the training' in message


def test_a_name_without_loss_is_refused(distill, distiller_cfg):
    cfg = distiller_cfg()
    for key in ('distill_losses', 'loss_forward_mappings'):
        cfg[key] = dict(kl=cfg[key]['loss_kd'])
    with pytest.raises(
        ValueError, match='distill_losses.kl: only what has "loss" in its name.*Call it loss_kl'
    ):
        distill(distiller=cfg)


class Still(nn.Module):
    """A loss whose gradient is 0."""

    def forward(self, preds_S, preds_T):
        return preds_S.sum() * 0 + 1


class Cut(nn.Module):
    """A loss that detaches its input."""

    def forward(self, preds_S, preds_T):
        return preds_S.detach().pow(2).mean()


for loss in (Still, Cut):
    MODELS.register_module(module=loss, force=True)


def test_a_loss_that_teaches_nothing_stops_the_run(distill, distiller_cfg, batch, losses_of):
    model = distill(distiller=distiller_cfg('logits', dict(type='Cut')))
    with pytest.raises(
        ValueError, match=r'distill.loss_kd teaches .* nothing: it does not depend on .*conv_seg'
    ):
        losses_of(model, batch())
    model = distill(distiller=distiller_cfg('logits', dict(type='Still')))
    model.proof = TeachingProof(['loss_kd'], patience=3)
    for _ in range(2):
        losses_of(model, batch())
    with pytest.raises(ValueError, match=r'exactly 0 in the first 3 iterations'):
        losses_of(model, batch())


def test_a_loss_inside_of_checkpointed_blocks_stops_the_run(
    distill, distiller_cfg, batch, losses_of, segmentor
):
    student = segmentor(4)
    student['backbone']['with_cp'] = True
    cfg = distiller_cfg('backbone.layer4.1.conv2', dict(type='PKDLoss'))
    with pytest.raises(ValueError, match=r'layer4.1.conv2, which lies .*with_cp=True'):
        losses_of(distill(student=student, teacher=segmentor(4), distiller=cfg), batch())


def test_one_gradient_is_proof_and_nothing_is_measured_after_it(distill, batch, losses_of, monkeypatch):
    model = distill()
    assert list(model.proof.open) == ['loss_kd']
    losses_of(model, batch())
    assert not model.proof.open
    monkeypatch.setattr(TeachingProof, '__call__', lambda *args: pytest.fail('measured again'))
    losses_of(model, batch())


def test_the_measurement_leaves_the_step_as_it_is(distill, batch):
    plain, measured = distill(), distill()
    plain.proof.open.clear()
    data = batch()
    found = [gradients(model, copy.deepcopy(data)) for model in (plain, measured)]
    assert torch.equal(*found)


def test_a_pass_without_gradients_needs_no_proof(distill, batch, losses_of):
    model = distill()
    with torch.no_grad():
        losses_of(model, batch())
    assert list(model.proof.open) == ['loss_kd']
