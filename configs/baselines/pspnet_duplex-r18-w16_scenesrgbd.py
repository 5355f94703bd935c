# An RGB-D teacher: the student of the scenes with a second encoder, of depth. Both encoders start from what
# the student learned on the plain scenes, as they usually start from ImageNet; the stem of the second takes
# depth in three channels.
# three channels.
_base_ = [
    '../_base_/models/pspnet_duplex-r18.py',
    '../_base_/datasets/scenesrgbd.py',
    '../_base_/schedules/scenes_teacher.py',
    '../_base_/default_runtime.py',
]
checkpoint = 'work_dirs/pspnet_r18-w16_scenes/best.pth'
model = dict(
    backbone=dict(
        rgb=dict(
            stem_channels=16,
            base_channels=16,
            init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.'),
        )
    ),
    decode_head=dict(in_channels=128, channels=64, num_classes=11),
)
