_base_ = [
    '../_base_/distillers/lix.py',
    '../_base_/datasets/scenesrgbd_rgb_student.py',
    '../_base_/schedules/scenes_student_vit.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/segformer_mit-e16_scenesrgbd.py'),
    teacher=dict(cfg_path='configs/baselines/pspnet_duplex-r18-w16_scenesrgbd.py'),
    teacher_ckpt='work_dirs/pspnet_duplex-r18-w16_scenesrgbd/best.pth',
    inputs=dict(channels=dict(rgb=3, depth=1)),
)
