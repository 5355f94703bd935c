_base_ = ['../_base_/datasets/camvid_360x360.py', '../_base_/schedules/schedule_40k_b16.py']
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/deeplabv3_mobilenet-v2-d8_8xb2-40k_camvid-360x360.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3_r101-d8_8xb2-40k_camvid-360x360.py'),
    teacher_ckpt='work_dirs/deeplabv3_r101-d8_8xb2-40k_camvid-360x360/best.pth',
    distiller=dict(type='I2CKDDistiller', feature='features', margin=1.0, loss_weight=1.0),
)
