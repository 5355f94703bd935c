# A teacher on blood cells: a MobileNetV2 that knows ImageNet (mmcls://mobilenet_v2, or a file of its weights:
# --cfg-options model.backbone.init_cfg.checkpoint=FILE).
_base_ = [
    '../_base_/models/retinanet_r18_fpn.py',
    '../_base_/datasets/bccd_320x240.py',
    '../_base_/schedules/bccd.py',
    '../_base_/default_runtime_det.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2'),
    ),
    neck=dict(in_channels=[24, 32, 96, 320]),
    bbox_head=dict(num_classes=3),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.5)))
)
