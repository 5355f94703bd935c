# An RGB-D teacher: the student of the scenes with a second encoder, of depth.
_base_ = [
    '../_base_/models/pspnet_duplex-r18.py', '../_base_/datasets/scenesrgbd.py',
    '../_base_/schedules/scenes_teacher.py', '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(rgb=dict(stem_channels=16, base_channels=16)),
    decode_head=dict(in_channels=128, channels=64, num_classes=11))
