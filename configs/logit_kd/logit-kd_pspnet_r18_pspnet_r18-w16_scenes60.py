# The demo's student with its teacher: 60 labelled scenes, and all scenes without labels.
_base_ = [
    '../_base_/datasets/scenes_seg_60-labels-and-images.py',
    '../_base_/schedules/scenes_student.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-w16_scenes60.py'),
    teacher=dict(cfg_path='configs/baselines/pspnet_r18_scenes.py'),
    teacher_ckpt='work_dirs/pspnet_r18_scenes/best.pth',
    distiller=dict(type='LogitKDDistiller'),
)
