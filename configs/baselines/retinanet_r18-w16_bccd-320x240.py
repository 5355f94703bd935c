# A student on blood cells: a ResNet-18 of a quarter of the usual width that starts from nothing.
_base_ = [
    '../_base_/models/retinanet_r18_fpn.py',
    '../_base_/datasets/bccd_320x240.py',
    '../_base_/schedules/bccd.py',
    '../_base_/default_runtime_det.py',
]
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    neck=dict(in_channels=[16, 32, 64, 128]),
    bbox_head=dict(num_classes=3),
)
