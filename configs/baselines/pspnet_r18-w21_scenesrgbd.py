# What a network of RGB alone reaches on the RGB-D scenes with the size and the schedule of the RGB-D teacher.
_base_ = [
    '../_base_/models/pspnet_r18.py',
    '../_base_/datasets/scenesrgbd_rgb.py',
    '../_base_/schedules/scenes_teacher.py',
    '../_base_/default_runtime.py',
]
model = dict(
    init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pspnet_r18-w21_scenes/best.pth'),
    backbone=dict(stem_channels=21, base_channels=21),
    decode_head=dict(in_channels=168, channels=84, num_classes=11),
)
