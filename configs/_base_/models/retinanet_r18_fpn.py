# RetinaNet on a ResNet-18 that starts from nothing, for the sign scenes: a small head, and three levels for
# signs of 20 to 50 pixels on images of 96 (the levels above would have one or two places, and spoil the
# head's shared batch norm).
# norm).
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py']
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    backbone=dict(
        depth=18, deep_stem=True, frozen_stages=-1, norm_eval=False, norm_cfg=norm_cfg, init_cfg=None
    ),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64, num_outs=3),
    bbox_head=dict(
        num_classes=10,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        anchor_generator=dict(octave_base_scale=3, ratios=[1.0], strides=[8, 16, 32]),
    ),
)
