# DeepLabV3+ with two ResNet-101 encoders, of RGB and of X, summed at every stage. Both start from ImageNet.
_base_ = ['./deeplabv3plus_r101-d8.py']
rgb = dict(
    type='ResNetV1c',
    depth=101,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    dilations=(1, 1, 2, 4),
    strides=(1, 2, 1, 1),
    norm_cfg=dict(type='SyncBN', requires_grad=True),
    norm_eval=False,
    style='pytorch',
    contract_dilation=True,
    init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet101_v1c'))
model = dict(
    pretrained=None,
    data_preprocessor=dict(type='RGBXDataPreProcessor'),  # a config gives x_mean and x_std of its X
    backbone=dict(_delete_=True, type='DuplexEncoder', fusion='sum', rgb=rgb))
