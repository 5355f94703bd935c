_base_ = ['../_base_/datasets/cityscapes_512x512.py', '../_base_/schedules/schedule_50k_b24_adamw.py']
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/fpn_pvtv2-b0_8xb3-50k_cityscapes-512x512.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_r101-d8_8xb3-50k_cityscapes-512x512.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_r101-d8_8xb3-50k_cityscapes-512x512/best.pth',
    distiller=dict(
        type='C2VKDDistiller',
        student_feature='features',
        teacher_feature='features',
        vlfd=dict(loss_weight=dict(type='auto', ratio=1.0)),
    ),
)
