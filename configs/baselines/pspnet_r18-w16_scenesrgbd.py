# The RGB student of the RGB-D scenes. It starts from what it learned on the plain scenes, as a network
# usually starts from ImageNet: from nothing, camouflaged digits keep it on 'background everywhere' for most
# of a short schedule.
_base_ = [
    '../_base_/models/pspnet_r18.py',
    '../_base_/datasets/scenesrgbd_rgb.py',
    '../_base_/schedules/scenes_student.py',
    '../_base_/default_runtime.py',
]
model = dict(
    init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pspnet_r18-w16_scenes/best.pth'),
    backbone=dict(stem_channels=16, base_channels=16),
    decode_head=dict(in_channels=128, channels=64, num_classes=11),
)
