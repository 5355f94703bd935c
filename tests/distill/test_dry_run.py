"""The dry run of both networks: its size, heads that ask for data samples, and what a failure does."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from toys import tiny_beit, tiny_mask2former, tiny_model

from kd_methods.networks.config import resolve_model_cfg


def mask_features() -> dict:
    """The mask features of a Mask2Former teach another one."""
    side = dict(recorder='mask')
    return dict(
        type='MethodDistiller',
        taps=dict(mask='decode_head.pixel_decoder.mask_feature'),
        distill_losses=dict(loss_cwd=dict(type='mmrazor.ChannelWiseDivergence')),
        loss_forward_mappings=dict(
            loss_cwd=dict(preds_S=dict(side, from_student=True), preds_T=dict(side, from_student=False))
        ),
    )


def recorded(source: str) -> dict:
    """MMRazor's distiller on the outputs of a module."""
    recorder = dict(out=dict(type='mmrazor.ModuleOutputs', source=source))
    side = dict(recorder='out', data_idx=0)
    return dict(
        type='mmrazor.ConfigurableDistiller',
        student_recorders=recorder,
        teacher_recorders=recorder,
        distill_losses=dict(loss_cwd=dict(type='mmrazor.ChannelWiseDivergence')),
        loss_forward_mappings=dict(
            loss_cwd=dict(preds_S=dict(side, from_student=True), preds_T=dict(side, from_student=False))
        ),
    )


def sizes(model) -> list:
    return [probe.size for probe in model.probes]


@pytest.mark.parametrize('distiller', [mask_features(), recorded('decode_head.pixel_decoder')])
def test_taps_inside_of_a_mask2former_of_mmseg_train(distill, batch, losses_of, distiller):
    network = resolve_model_cfg(tiny_mask2former())
    model = distill(student=network, teacher=network, distiller=distiller)
    assert model.teacher.mode == 'tensor' and sizes(model) == [(64, 64)] * 2
    losses = losses_of(model, batch())
    assert losses['distill.loss_cwd'] > 0 and torch.isfinite(losses['distill.loss_cwd'])
    losses['distill.loss_cwd'].backward()
    assert model.student.decode_head.pixel_decoder.mask_feature.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('side', [64, 160])
def test_a_teacher_of_one_image_size_trains_without_an_option(distill, side):
    student = dict(tiny_model(4, 'BN'), data_preprocessor=tiny_beit(side)['data_preprocessor'])
    distiller = dict(type='I2CKDDistiller', feature='features', loss_weight=1.0)
    assert sizes(distill(student=student, teacher=tiny_beit(side), distiller=distiller)) == [(side, side)] * 2


def test_the_size_of_the_runs_own_preprocessor_comes_first(distill, segmentor):
    preprocessor = dict(segmentor()['data_preprocessor'], size=(96, 32))
    model = distill(data_preprocessor=preprocessor, teacher_preprocessor='student')
    assert sizes(model) == [(96, 32)] * 2


def test_an_explicit_size_wins(distill):
    assert sizes(distill(dry_run_size=(32, 64))) == [(32, 64)] * 2
    distiller = dict(type='I2CKDDistiller', feature='features')
    with pytest.raises(ValueError, match='teacher .* on 96 x 96 pixels .* ended with .*model.dry_run_size'):
        distill(
            student=tiny_model(4, 'BN'), teacher=tiny_beit(64), distiller=distiller, dry_run_size=(96, 96)
        )


@pytest.mark.parametrize('source', ['decode_head.bottleneck', 'auxiliary_head.convs.0'])
def test_a_failure_never_switches_the_check_of_a_recorder_off(distill, source):
    teacher = tiny_beit(64)
    teacher['auxiliary_head'] = dict(tiny_model()['auxiliary_head'], in_channels=16, in_index=0)
    with pytest.raises(
        ValueError, match=r'teacher_recorders.out: .* could not be tried: the dry run of the t'
    ):
        distill(
            student=tiny_model(4, 'BN'), teacher=teacher, distiller=recorded(source), dry_run_size=(96, 96)
        )


def test_a_failure_behind_all_taps_is_told(distill, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    distiller = dict(
        type='MethodDistiller',
        taps=dict(stem='backbone.patch_embed.projection'),
        distill_losses=dict(loss_cwd=dict(type='mmrazor.ChannelWiseDivergence')),
        loss_forward_mappings=dict(
            loss_cwd=dict(
                preds_S=dict(recorder='stem', from_student=True),
                preds_T=dict(recorder='stem', from_student=False),
            )
        ),
    )
    try:
        with caplog.at_level(logging.WARNING):
            distill(student=tiny_beit(64), teacher=tiny_beit(64), distiller=distiller, dry_run_size=(96, 96))
    finally:
        logger.removeHandler(caplog.handler)
    assert 'the dry run of the teacher (EncoderDecoder) on 96 x 96 pixels' in caplog.text


def test_a_loss_that_fails_without_text_is_told(distill, distiller_cfg, monkeypatch):
    from mmrazor.models.losses import KLDivergence

    def forward(self, preds_S, preds_T):  # noqa: N803 - mmrazor's names
        raise AssertionError

    monkeypatch.setattr(KLDivergence, 'forward', forward)
    with pytest.raises(ValueError, match=r'on 64 x 64 pixels\)\. AssertionError: a check failed$'):
        distill(distiller=distiller_cfg())
