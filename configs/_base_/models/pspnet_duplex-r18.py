# The scenes' PSPNet with a second encoder for depth, added into the first at every stage.
_base_ = ['./pspnet_r18.py']
model = dict(
    data_preprocessor=dict(type='RGBXDataPreProcessor', x_mean=[0.13], x_std=[0.15]),
    backbone=dict(_delete_=True, type='DuplexEncoder', fusion='sum', rgb=_base_.model.backbone),
)
