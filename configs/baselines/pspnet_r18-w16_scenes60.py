# The student of the demo alone: 60 of the 3,000 training scenes have labels.
_base_ = [
    '../_base_/models/pspnet_r18.py',
    '../_base_/datasets/scenes_seg_60-labels.py',
    '../_base_/schedules/scenes_student.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    decode_head=dict(in_channels=128, channels=64, num_classes=11, loss_decode=dict(avg_non_ignore=True)),
)
