# A teacher on CamVid: DeepLabV3+ of stride 16 on a MobileNetV2 that knows ImageNet (mmcls://mobilenet_v2, or
# a file of its weights: --cfg-options model.backbone.init_cfg.checkpoint=FILE).
_base_ = [
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/camvid_student.py',
    '../_base_/default_runtime.py',
]
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(160, 160),
    ),
    backbone=dict(
        type='MobileNetV2',
        out_indices=(1, 2, 4, 6),
        strides=(1, 2, 2, 2, 1, 1, 1),
        dilations=(1, 1, 1, 1, 1, 2, 2),
        norm_cfg=norm_cfg,
        init_cfg=dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2'),
    ),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=320,
        in_index=3,
        channels=128,
        dilations=(1, 3, 6, 9),
        c1_in_channels=24,
        c1_channels=32,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    test_cfg=dict(mode='whole'),
)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.5)))
)
max_iters = 3000
warm_up = 300
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warm_up)
param_scheduler[1].update(T_max=max_iters - warm_up, begin=warm_up, end=max_iters)
train_cfg = dict(max_iters=max_iters)
