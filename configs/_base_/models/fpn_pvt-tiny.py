# mmdet's PVT in an mmseg segmentor. Its weights are mmdet's to convert, so init_cfg has no type.
_base_ = ['mmseg::_base_/models/fpn_r50.py']
model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmdet.PyramidVisionTransformer',
        num_layers=[2, 2, 2, 2],
        init_cfg=dict(checkpoint='https://github.com/whai362/PVT/releases/download/v2/pvt_tiny.pth'),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
    decode_head=dict(loss_decode=dict(avg_non_ignore=True)),
)
