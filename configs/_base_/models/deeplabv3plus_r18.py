# DeepLabV3+ on the scenes' ResNet-18 of stride 8, which starts from nothing.
_base_ = ['./pspnet_r18.py']
model = dict(
    decode_head=dict(
        _delete_=True,
        type='DepthwiseSeparableASPPHead',
        in_channels=512,
        in_index=3,
        channels=128,
        # Rates for a grid of 12 x 12; beyond its size a 3 x 3 convolution sees its centre alone.
        dilations=(1, 3, 6, 9),
        c1_in_channels=64,
        c1_channels=16,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        # mmseg's N(0, 0.01) keeps a network that starts from nothing on 'background everywhere'.
        init_cfg=dict(type='Normal', std=0.05, override=dict(name='conv_seg')),
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    )
)
