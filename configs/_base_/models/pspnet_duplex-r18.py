# The scenes' PSPNet with a second encoder for depth, added into the first at every stage.
_base_ = ['./pspnet_r18.py']
model = dict(
    data_preprocessor=dict(
        type='RGBXDataPreProcessor', x_mean=[0.13], x_std=[0.15]),
    backbone=dict(
        _delete_=True,
        type='DuplexEncoder',
        fusion='sum',
        rgb=dict(
            type='ResNetV1c',
            depth=18,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            dilations=(1, 1, 2, 4),
            strides=(1, 2, 1, 1),
            norm_cfg=dict(type='BN', requires_grad=True),
            norm_eval=False,
            style='pytorch',
            contract_dilation=True)))
