# DeepLabV3+ with two ResNet-101 encoders, of RGB and of X, summed at every stage. Both start from ImageNet.
_base_ = ['./deeplabv3plus_r101-d8.py']
model = dict(
    pretrained=None,
    data_preprocessor=dict(type='RGBXDataPreProcessor'),  # a config gives x_mean and x_std of its X
    backbone=dict(
        _delete_=True,
        type='DuplexEncoder',
        fusion='sum',
        rgb=dict(
            _base_.model.backbone, init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet101_v1c')
        ),
    ),
)
