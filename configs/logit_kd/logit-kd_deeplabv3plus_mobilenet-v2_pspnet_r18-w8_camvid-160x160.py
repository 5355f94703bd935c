# Logits of a quarter and of an eighth of the side: the student's are resized.
_base_ = [
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/camvid_student.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-w8_camvid-160x160.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_mobilenet-v2_camvid-160x160.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_mobilenet-v2_camvid-160x160/best.pth',
    distiller=dict(type='LogitKDDistiller'),
)
