"""Fixtures: small networks, distillers and batches, without files."""

import copy
import warnings

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

import kd_methods  # noqa: F401

CLASSES = 5
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.fixture
def segmentor():
    """`segmentor(width=4, **head options)` -> model dict of a FCN on a R18 of that width, 64 x 64."""

    def make(
        width=4,
        classes=CLASSES,
        aux=False,
        dropout=0.1,
        norm='BN',
        preprocessor=None,
        head='FCNHead',
        **head_options,
    ):
        norm_cfg = dict(type=norm, **(dict(num_groups=2) if norm == 'GN' else {}))
        heads = dict(num_classes=classes, norm_cfg=norm_cfg, align_corners=False, dropout_ratio=dropout)
        options = dict(num_convs=1, concat_input=False) if head == 'FCNHead' else {}
        return dict(
            type='EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor',
                size=(64, 64),
                pad_val=0,
                seg_pad_val=255,
                **(preprocessor or dict(mean=MEAN, std=STD, bgr_to_rgb=True)),
            ),
            backbone=dict(
                type='ResNetV1c',
                depth=18,
                stem_channels=width,
                base_channels=width,
                num_stages=4,
                out_indices=(0, 1, 2, 3),
                dilations=(1, 1, 2, 4),
                strides=(1, 2, 1, 1),
                norm_cfg=norm_cfg,
            ),
            decode_head=dict(
                type=head,
                in_channels=8 * width,
                in_index=3,
                channels=2 * width,
                **options,
                **heads,
                **head_options,
            ),
            auxiliary_head=dict(
                type='FCNHead',
                in_channels=4 * width,
                in_index=2,
                channels=width,
                num_convs=1,
                concat_input=False,
                **heads,
            )
            if aux
            else None,
            test_cfg=dict(mode='whole'),
        )

    return make


@pytest.fixture
def distiller_cfg():
    """`distiller_cfg(tap='logits', **loss)` -> logit KD between taps of both networks."""

    def make(tap='logits', loss=None, **kwargs):
        loss = {'type': 'KLDivergence', **(loss or {})}
        mapping = dict(
            preds_S=dict(recorder='tap', from_student=True), preds_T=dict(recorder='tap', from_student=False)
        )
        return dict(
            type='MethodDistiller',
            taps=dict(tap=tap),
            distill_losses=dict(loss_kd=loss),
            loss_forward_mappings=dict(loss_kd=mapping),
            **kwargs,
        )

    return make


@pytest.fixture
def distill(segmentor, distiller_cfg):
    """`distill(**model keys)` -> a built FrozenTeacherDistill, teacher twice as wide, one seed."""

    def make(student=None, teacher=None, distiller=None, **kwargs):
        torch.manual_seed(0)
        cfg = dict(
            type='FrozenTeacherDistill',
            architecture=student or segmentor(4),
            teacher=teacher or segmentor(8),
            distiller=distiller or distiller_cfg(),
            **kwargs,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='model.teacher_ckpt is not set')
            return MODELS.build(copy.deepcopy(cfg)).train()

    return make


@pytest.fixture
def batch():
    """`batch(n=2, size=(64, 64))` -> raw images and labels as a dataloader collates them."""

    def make(n=2, size=(64, 64), seed=0, classes=CLASSES):
        g = torch.Generator().manual_seed(seed)
        samples = []
        for _ in range(n):
            sample = SegDataSample(
                gt_sem_seg=PixelData(data=torch.randint(0, classes, (1, *size), generator=g))
            )
            sample.set_metainfo(dict(img_shape=size, ori_shape=size))
            samples.append(sample)
        images = [torch.randint(0, 256, (3, *size), generator=g, dtype=torch.uint8) for _ in range(n)]
        return dict(inputs=images, data_samples=samples)

    return make


@pytest.fixture
def losses_of():
    """`losses_of(model, batch)` -> the losses of one forward, as a training step computes them."""

    def run(model, data):
        return model(**model.data_preprocessor(data, True), mode='loss')

    return run
