"""Maps of two sizes that a loss compares place by place."""

import pytest
import torch
import torch.nn.functional as F
from toys import tiny_segformer

from kd_methods.distill.grids import GridRule


def fine(segmentor):
    """A network whose logits are twice as fine as `segmentor`'s."""
    cfg = segmentor(4)
    cfg['backbone'].update(dilations=(1, 1, 4, 8), strides=(1, 1, 1, 1))
    return cfg


@pytest.mark.parametrize('stock', [False, True], ids=['MethodDistiller', 'mmrazor'])
@pytest.mark.parametrize('loss', ['KLDivergence', 'ChannelWiseDivergence', 'L2Loss', 'ATLoss'])
def test_the_students_map_is_brought_to_the_teachers_grid(
    distill, distiller_cfg, batch, losses_of, segmentor, loss, stock
):
    arguments = dict(KLDivergence='preds_S preds_T', ChannelWiseDivergence='preds_S preds_T').get(
        loss, 's_feature t_feature'
    )
    arguments = dict(zip(arguments.split(), (True, False)))
    cfg = distiller_cfg('logits', dict(type=loss))
    entries = {a: dict(recorder='tap', from_student=side) for a, side in arguments.items()}
    cfg['loss_forward_mappings'] = dict(loss_kd=entries)
    if stock:
        recorder = dict(tap=dict(type='ModuleOutputs', source='decode_head.conv_seg'))
        cfg.pop('taps')
        cfg.update(
            type='mmrazor.ConfigurableDistiller', student_recorders=recorder, teacher_recorders=recorder
        )
    model = distill(teacher=fine(segmentor), distiller=cfg)
    seen = {}
    hook = lambda module, args, kwargs: seen.update(kwargs)  # noqa: E731
    model.owners['loss_kd'].losses['loss_kd'].register_forward_pre_hook(hook, with_kwargs=True)
    value = losses_of(model, batch())['distill.loss_kd']
    value.backward()
    student, teacher = seen.values()
    assert student.shape == teacher.shape and student.shape[-2:] == (16, 16)
    taps = model.connections[0].taps['loss_kd'].values()
    assert [tap.shape[-2:] for tap in taps] == [(8, 8), (16, 16)], 'of the dry run, before any resize'
    assert model.student.decode_head.conv_seg.weight.grad.abs().sum() > 0


def test_values_are_those_of_interpolate():
    x, y = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 8, 9)
    given = dict(s=x, t=y, label=torch.zeros(1))
    for align in (False, True):
        out = GridRule(dict(s='t'), 'student', align)(given)
        expected = F.interpolate(x, (8, 9), mode='bilinear', align_corners=align)
        torch.testing.assert_close(out['s'], expected)
        assert out['t'].equal(y) and out['label'] is given['label']
    out = GridRule(dict(s='t'), 'teacher')(given)
    assert out['s'].equal(x) and out['t'].shape == (2, 3, 4, 5)
    with pytest.raises(ValueError, match="resize='never'; resize='student' or 'teacher'"):
        GridRule(dict(s='t'), 'never')(given)
    same = dict(s=x, t=x)
    assert GridRule(dict(s='t'), 'never')(same)['s'] is x


def test_the_heads_align_corners_counts(distill, segmentor):
    student = segmentor(4)
    student['decode_head']['align_corners'] = True
    assert distill(student=student).connections[0].grids['loss_kd'].align_corners


def test_the_other_way_round_and_never(distill, distiller_cfg, batch, losses_of, segmentor):
    model = distill(teacher=fine(segmentor), distiller=distiller_cfg(resize='teacher'))
    losses_of(model, batch())
    assert model.connections[0].grids['loss_kd'].resize == 'teacher'
    with pytest.raises(ValueError, match="model.distiller.distill_losses.loss_kd .*resize='never'"):
        distill(teacher=fine(segmentor), distiller=distiller_cfg(resize='never'))
    with pytest.raises(ValueError, match="resize='both' is not known"):
        distill(distiller=distiller_cfg(resize='both'))


def test_losses_that_deal_with_sizes_themselves_get_them(distill, distiller_cfg, segmentor):
    model = distill(teacher=fine(segmentor), distiller=dict(type='I2CKDDistiller'))
    assert not model.connections[0].grids['loss_i2ckd'].pairs


def test_logits_that_lie_channels_last(distill, distiller_cfg, batch, losses_of):
    """MMRazor's CWD flattens with view()."""
    cfg = distiller_cfg('logits', dict(type='ChannelWiseDivergence'))
    model = distill(student=tiny_segformer(classes=5), distiller=cfg)
    assert losses_of(model, batch())['distill.loss_kd'] > 0
