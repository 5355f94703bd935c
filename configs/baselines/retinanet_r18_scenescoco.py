# The teacher of the detection scenes: a ResNet-18 of half the usual width.
_base_ = [
    '../_base_/models/retinanet_r18_fpn.py',
    '../_base_/datasets/scenes_det.py',
    '../_base_/schedules/scenes_det_teacher.py',
    '../_base_/default_runtime_det.py',
]
model = dict(backbone=dict(stem_channels=32, base_channels=32), neck=dict(in_channels=[32, 64, 128, 256]))
