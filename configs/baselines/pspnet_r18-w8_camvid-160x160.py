# A student on CamVid: a ResNet-18 of an eighth of the usual width that starts from nothing.
_base_ = [
    '../_base_/models/pspnet_r18.py',
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/camvid_student.py',
    '../_base_/default_runtime.py',
]
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
