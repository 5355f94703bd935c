# The RGB-D teacher whose two branches meet before the classifier.
_base_ = [
    '../_base_/models/pspnet_duplex-late-r18.py', '../_base_/datasets/scenesrgbd.py',
    '../_base_/schedules/scenes_teacher.py', '../_base_/default_runtime.py'
]
checkpoint = 'work_dirs/pspnet_r18-w16_scenes/best.pth'
model = dict(
    backbone=dict(
        rgb=dict(
            stem_channels=16,
            base_channels=16,
            init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.'))),
    decode_head=dict(num_classes=11, rgb=dict(in_channels=128, channels=64)))
