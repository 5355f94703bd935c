import pytest
import torch
from torch import nn

from kd_methods.distill.unused_parameters import UnusedParameterTie, _Tie


def gradients(model, losses):
    total, _ = model.parse_losses(losses)
    model.zero_grad(set_to_none=True)
    total.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def adapters(distiller_cfg, **kwargs):
    cfg = distiller_cfg('features', **kwargs)
    cfg['connectors'] = dict(adapt=dict(type='ConvModuleConnector', in_channel=8, out_channel=16))
    cfg['loss_forward_mappings']['loss_kd']['preds_S']['connector'] = 'adapt'
    return cfg


@pytest.mark.parametrize(
    'keys,distiller',
    [
        (dict(calculate_student_loss=False), dict()),
        (dict(), dict(loss_schedules=dict(loss_kd=dict(end=0)))),
        (dict(), dict(loss=dict(loss_weight=0.0))),
        (dict(calculate_student_loss=False), dict(loss_schedules=dict(loss_kd=dict(end=0)))),
    ],
    ids=['no task loss', 'schedule over', 'weight 0', 'nothing left'],
)
def test_every_trainable_parameter_gets_a_gradient(
    distill, batch, losses_of, distiller_cfg, segmentor, keys, distiller
):
    model = distill(student=segmentor(4, aux=True), distiller=adapters(distiller_cfg, **distiller), **keys)
    grads = gradients(model, losses_of(model, batch()))
    assert not [name for name, grad in grads.items() if grad is None]
    if keys:
        assert grads['architecture.auxiliary_head.conv_seg.weight'].abs().sum() == 0
    if 'loss_schedules' in distiller:
        assert grads['distiller.connectors.adapt.conv_module.conv.weight'].abs().sum() == 0


def test_used_parameters_keep_their_gradient(distill, batch, losses_of, distiller_cfg, segmentor):
    cfg = dict(
        student=segmentor(4, dropout=0, aux=True),
        distiller=adapters(distiller_cfg),
        calculate_student_loss=False,
    )
    tied, free = distill(**cfg), distill(**cfg)
    free.tie = lambda losses, module, kind: losses
    got, expected = (gradients(m, losses_of(m, batch())) for m in (tied, free))
    assert any(g is None for g in expected.values())
    for name, grad in expected.items():
        assert grad is None or torch.equal(got[name], grad), name


def test_a_tie_is_exactly_zero_even_for_non_finite_parameters():
    p = nn.Parameter(torch.tensor([float('inf'), float('nan'), 1.0]))
    value = torch.tensor(2.0, requires_grad=True)
    out = _Tie.apply(value, p)
    out.backward()
    assert out == 2 and value.grad == 1 and torch.equal(p.grad, torch.zeros(3))


def test_each_kind_of_step_is_looked_at_once(monkeypatch):
    import kd_methods.distill.unused_parameters as tie

    walks = []
    original = tie._unreached
    monkeypatch.setattr(tie, '_unreached', lambda *args: walks.append(1) or original(*args))
    layer = nn.Linear(2, 2)
    module = nn.ModuleList([layer, nn.Linear(2, 2)])
    call = UnusedParameterTie()
    for kind in ('a', 'a', 'b', 'a'):
        losses = call(dict(loss=layer(torch.ones(1, 2)).sum(), acc=torch.ones(())), module, kind)
        losses['loss'].backward()
    assert len(walks) == 2
    assert module[1].weight.grad.abs().sum() == 0
