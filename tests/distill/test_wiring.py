"""Mistakes in the wiring are found before training, and the message says where and what to do."""

import copy

import pytest
import torch
from mmengine.registry import MODELS


def razor(**changes):
    recorders = dict(logits=dict(type='ModuleOutputs', source='decode_head.conv_seg'))
    cfg = dict(
        type='mmrazor.ConfigurableDistiller',
        student_recorders=copy.deepcopy(recorders),
        teacher_recorders=copy.deepcopy(recorders),
        distill_losses=dict(loss_cwd=dict(type='ChannelWiseDivergence')),
        loss_forward_mappings=dict(
            loss_cwd=dict(
                preds_S=dict(recorder='logits', from_student=True),
                preds_T=dict(recorder='logits', from_student=False),
            )
        ),
    )
    cfg.update(changes)
    return cfg


def mapping(**changes):
    mapped = razor()['loss_forward_mappings']['loss_cwd']
    mapped.update(changes)
    return dict(loss_forward_mappings=dict(loss_cwd={k: v for k, v in mapped.items() if v is not None}))


def test_the_wiring_under_test_is_right_without_changes(distill, batch, losses_of):
    assert losses_of(distill(distiller=razor()), batch())['distill.loss_cwd'] > 0


@pytest.mark.parametrize(
    'changes,error,text',
    [
        (
            dict(student_recorders=dict(logits=dict(type='ModuleOutputs', source='decode_head.conv_sec'))),
            KeyError,
            "student_recorders.logits: no module 'decode_head.conv_sec' in the student (EncoderDecoder). "
            "Did you mean 'decode_head.conv_seg'",
        ),
        (
            dict(teacher_recorders=dict(logits=dict(type='Parameter', source='decode_head.conv_seg.wight'))),
            KeyError,
            "no parameter 'decode_head.conv_seg.wight' in the teacher",
        ),
        (
            dict(loss_forward_mappings=dict()),
            ValueError,
            "no mapping for ['loss_cwd'], so these losses would never be computed",
        ),
        (
            mapping(preds_T=None),
            KeyError,
            "ChannelWiseDivergence.forward needs ['preds_T']; its arguments are ['preds_S', 'preds_T']",
        ),
        (
            mapping(label=dict(recorder='logits', from_student=True)),
            ValueError,
            'label is not in the signature',
        ),
        (mapping(preds_T=dict(recorder='logit', from_student=False)), ValueError, '"logit" must be in'),
    ],
    ids=['module', 'parameter', 'unmapped loss', 'missing argument', 'extra argument', 'recorder'],
)
def test_mmrazors_distiller(distill, changes, error, text):
    with pytest.raises(error) as info:
        distill(distiller=razor(**changes))
    assert text in str(info.value).replace('\\n', ' ') and 'distiller' in str(info.value)


@pytest.mark.parametrize(
    'record,error,text',
    [
        (
            dict(preds_T=dict(recorder='nowhere', from_student=False)),
            KeyError,
            "no recorder 'nowhere' among the teacher's ['tap']",
        ),
        (dict(preds_T=dict(recorder='tap')), KeyError, 'from_student=True or False, or from_data='),
        (
            dict(preds_T=dict(recorder='tap', from_student=False, connector='c')),
            KeyError,
            "no connector 'c' among []",
        ),
        (dict(weight=dict(from_data='gt_sem_seg')), KeyError, "KLDivergence.forward takes no ['weight']"),
    ],
)
def test_method_distiller(distill, distiller_cfg, record, error, text):
    cfg = distiller_cfg()
    cfg['loss_forward_mappings']['loss_kd'].update(record)
    with pytest.raises(error) as info:
        distill(distiller=cfg)
    assert text in str(info.value) and 'loss_forward_mappings.loss_kd' in str(info.value)


def test_other_numbers_of_classes_are_named_on_both_sides(distill, segmentor):
    for cfg in (razor(),):
        with pytest.raises(
            ValueError, match='student have 5 classes.*decode_head.*teacher 7.*methods? on features'
        ):
            distill(distiller=cfg, teacher=segmentor(8, classes=7))


def test_features_of_heads_without_dropout_are_not_taken_for_logits(distill, batch, losses_of, segmentor):
    cfg = dict(type='I2CKDDistiller')  # its tap is the input of conv_seg there, of 8 and 16 channels
    model = distill(student=segmentor(4, dropout=0), teacher=segmentor(8, dropout=0), distiller=cfg)
    assert losses_of(model, batch())['distill.loss_i2ckd'] > 0


def test_an_adapter_that_does_not_fit_shows_both_shapes(distill, distiller_cfg):
    cfg = distiller_cfg('features')
    cfg['connectors'] = dict(adapt=dict(type='ConvModuleConnector', in_channel=9, out_channel=16))
    cfg['loss_forward_mappings']['loss_kd']['preds_S']['connector'] = 'adapt'
    with pytest.raises(ValueError) as info:
        distill(distiller=cfg)
    text = str(info.value)
    assert (
        'connectors.adapt does not fit' in text
        and '1x8x8x8' in text
        and '1x16x8x8' in text
        and 'dry run on 64 x 64 pixels' in text
        and '9' in text
    )


def test_a_loss_on_shapes_that_do_not_agree_shows_both(distill, distiller_cfg):
    with pytest.raises(ValueError) as info:
        distill(distiller=distiller_cfg('features'))  # 8 against 16 channels, no adapter
    assert 'loss_kd cannot be computed' in str(info.value) and '1x8x8x8' in str(info.value)


def test_an_index_out_of_range_is_named(distill, distiller_cfg):
    cfg = razor(student_recorders=dict(logits=dict(type='ModuleOutputs', source='backbone')))
    cfg['loss_forward_mappings']['loss_cwd']['preds_S']['data_idx'] = 9
    with pytest.raises(ValueError, match="'logits'.*data_idx=9 is out of range.*returns 4 tensors"):
        distill(distiller=cfg)


def test_a_tap_of_one_network_alone_is_named(distill, distiller_cfg):
    with pytest.raises(TypeError, match='dict\\(student=..., teacher=...\\)'):
        distill(distiller=distiller_cfg(dict(student='logits')))


@pytest.mark.parametrize('cfg', ['I2CKDDistiller', dict(distill_losses=dict())])
def test_a_distiller_is_a_dict_with_a_type(distill, cfg):
    with pytest.raises(TypeError, match='model.distiller: expected a dict with a type'):
        distill(distiller=cfg)


class NeedsTwo(torch.nn.Module):
    """A loss that no batch of the tests fits."""

    def forward(self, logits, shapes):
        return logits.mean() / (len(shapes) - 1 if len(shapes) == 1 else logits[:, 99].mean())


def test_a_loss_that_its_first_batch_does_not_fit_is_named_with_its_arguments(distill, batch, losses_of):
    """Here one whose ground truth a dry run cannot make up; MMRazor's DKD is refused when it is built."""
    MODELS.register_module(module=NeedsTwo, force=True)
    cfg = dict(
        type='MethodDistiller',
        taps=dict(t='logits'),
        distill_losses=dict(loss_x=dict(type='NeedsTwo')),
        loss_forward_mappings=dict(
            loss_x=dict(
                logits=dict(recorder='t', from_student=True), shapes=dict(from_data='gt_sem_seg_extra')
            )
        ),
    )
    model, data = distill(distiller=cfg), batch()
    for sample in data['data_samples']:
        sample.set_data(dict(gt_sem_seg_extra=torch.zeros(1)))
    with pytest.raises(
        ValueError, match=r'distill_losses.loss_x cannot .* batch. Its arguments: logits 2x5x8x8, sha'
    ):
        losses_of(model, data)


def test_a_loss_with_ground_truth_is_tried_before_training(distill):
    cfg = dict(
        type='MethodDistiller',
        taps=dict(t='logits'),
        distill_losses=dict(loss_dkd=dict(type='mmrazor.DKDLoss')),
        loss_forward_mappings=dict(
            loss_dkd=dict(
                preds_S=dict(recorder='t', from_student=True),
                preds_T=dict(recorder='t', from_student=False),
                gt_labels=dict(from_data='gt_sem_seg'),
            )
        ),
    )
    with pytest.raises(
        ValueError, match=r'distill_losses.loss_dkd cannot be computed from what it is mapped to'
    ):
        distill(distiller=cfg)
