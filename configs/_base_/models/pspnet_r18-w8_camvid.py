# PSPNet on a ResNet-18 of an eighth of the usual width, for CamVid's 11 classes and crops of 160.
_base_ = ['./pspnet_r18.py']
model = dict(
    data_preprocessor=dict(size=(160, 160)),
    backbone=dict(stem_channels=8, base_channels=8),
    decode_head=dict(
        in_channels=64,
        channels=32,
        num_classes=11,
        loss_decode=dict(avg_non_ignore=True),  # the mean over the pixels that have a label
    ),
)
