"""Logit KD and CWD under teachers of mmseg's families, at whatever size their logits have."""

import warnings

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

import kd_methods  # noqa: F401
from kd_methods.networks.config import clear_pretrained, resolve_model_cfg

SIZE = (128, 128)
STUDENTS = {
    'PSPNet-R18': 'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024',
    'SegFormer-B0': 'segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024',
}
TEACHERS = {
    'DeepLabV3+': 'deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024',
    'HRNet': 'hrnet/fcn_hr18_4xb2-40k_cityscapes-512x1024',
    'BiSeNetV2': 'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024',
    'FCN': 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024',
    'PSPNet': 'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024',
    'DeepLabV3': 'deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024',
    'UPerNet': 'upernet/upernet_r50_4xb2-40k_cityscapes-512x1024',
    'OCRNet': 'ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024',
    'SegFormer': 'segformer/segformer_mit-b2_8xb1-160k_cityscapes-1024x1024',
    'DANet': 'danet/danet_r50-d8_4xb2-40k_cityscapes-512x1024',
    'CCNet': 'ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024',
    'Semantic FPN': 'sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024',
    'GCNet': 'gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024',
    'STDC': 'stdc/stdc1_4xb12-80k_cityscapes-512x1024',
    'PointRend': 'point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024',
    'Fast-SCNN': 'fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024',
}
QUICK = ('DeepLabV3+', 'HRNet', 'BiSeNetV2')  # logits of a quarter of the side, and of an eighth
CWD = dict(
    type='MethodDistiller',
    taps=dict(logits='logits'),
    distill_losses=dict(loss_cwd=dict(type='mmrazor.ChannelWiseDivergence')),
    loss_forward_mappings=dict(
        loss_cwd=dict(
            preds_S=dict(recorder='logits', from_student=True),
            preds_T=dict(recorder='logits', from_student=False),
        )
    ),
)


def network(path):
    cfg = resolve_model_cfg(dict(cfg_path=f'mmseg::{path}.py', data_preprocessor=dict(size=SIZE)))
    clear_pretrained(cfg)
    return cfg


@pytest.mark.parametrize('student', STUDENTS)
@pytest.mark.parametrize(
    'teacher', [t if t in QUICK else pytest.param(t, marks=pytest.mark.slow) for t in TEACHERS]
)
def test_a_step_with_logit_kd_and_cwd(batch, teacher, student):
    cfg = dict(
        type='FrozenTeacherDistill',
        architecture=network(STUDENTS[student]),
        teacher=network(TEACHERS[teacher]),
        distiller=dict(type='ComposedDistiller', distillers=[dict(type='LogitKDDistiller'), CWD]),
    )
    with DefaultScope.overwrite_default_scope('mmseg'), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = MODELS.build(cfg).train()
        data = model.data_preprocessor(batch(size=SIZE, classes=19), True)
        losses = model(**data, mode='loss')
    assert losses['distill.loss_kd'] > 0 and losses['distill.loss_cwd'] > 0
    assert not model.proof.open, 'a gradient arrived at the logits of the student from both'
    model.parse_losses(losses)[0].backward()
    gradient = model.student.decode_head.conv_seg.weight.grad
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
