# The teacher of the quick start: a ResNet-18 of half the usual width.
_base_ = [
    '../_base_/models/pspnet_r18.py',
    '../_base_/datasets/scenes_seg.py',
    '../_base_/schedules/scenes_teacher.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(stem_channels=32, base_channels=32), decode_head=dict(in_channels=256, num_classes=11)
)
