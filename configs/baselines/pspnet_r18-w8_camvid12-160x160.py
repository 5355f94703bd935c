# A student on CamVid with 12 labelled images.
_base_ = [
    '../_base_/models/pspnet_r18.py',
    '../_base_/datasets/camvid_240x180_12-labels.py',
    '../_base_/schedules/camvid_student-2k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(160, 160)),
    backbone=dict(stem_channels=8, base_channels=8),
    decode_head=dict(in_channels=64, channels=32, num_classes=11, loss_decode=dict(avg_non_ignore=True)),
)
