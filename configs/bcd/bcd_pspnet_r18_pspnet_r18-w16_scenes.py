_base_ = [
    '../_base_/distillers/bcd.py',
    '../_base_/datasets/scenes_seg.py',
    '../_base_/schedules/scenes_student.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-w16_scenes.py'),
    teacher=dict(cfg_path='configs/baselines/pspnet_r18_scenes.py'),
    teacher_ckpt='work_dirs/pspnet_r18_scenes/best.pth',
    distiller=_base_.bcd,
)
