# What an RGB network of the size of the RGB-D teacher reaches on the RGB-D scenes.
_base_ = [
    '../_base_/models/pspnet_r18.py', '../_base_/datasets/scenesrgbd_rgb.py',
    '../_base_/schedules/scenes_teacher.py', '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(stem_channels=24, base_channels=24),
    decode_head=dict(in_channels=192, channels=96, num_classes=11))
