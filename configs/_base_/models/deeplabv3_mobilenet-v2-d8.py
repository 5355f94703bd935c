# A small student: the head is as wide as that of the R18 students (mmseg's recipe has 512 channels
# here, several times the backbone's size), and there is no auxiliary head.
_base_ = ['mmseg::_base_/models/deeplabv3_r50-d8.py']
model = dict(
    pretrained='mmcls://mobilenet_v2',
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        widen_factor=1.0,
        strides=(1, 2, 2, 1, 1, 1, 1),
        dilations=(1, 1, 1, 2, 2, 4, 4),
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    decode_head=dict(in_channels=320, channels=128, loss_decode=dict(avg_non_ignore=True)),
    auxiliary_head=None,
)
