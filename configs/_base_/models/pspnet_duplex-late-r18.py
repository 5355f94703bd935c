# The scenes' PSPNet twice, on RGB and on depth, whose maps before the classifier are summed.
_base_ = ['./pspnet_duplex-r18.py']
model = dict(
    backbone=dict(fusion=None),
    decode_head=dict(
        _delete_=True,
        type='LateFusionHead',
        rgb=dict(
            type='PSPHead',
            in_channels=512,
            in_index=3,
            channels=128,
            pool_scales=(1, 2, 3, 6),
            dropout_ratio=0.1,
            num_classes=19,
            norm_cfg=dict(type='BN', requires_grad=True),
            align_corners=False,
            init_cfg=dict(type='Normal', std=0.05, override=dict(name='conv_seg')),
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0))))
