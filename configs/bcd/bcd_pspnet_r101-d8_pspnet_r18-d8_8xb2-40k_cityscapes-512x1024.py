_base_ = [
    '../_base_/distillers/bcd.py',
    '../_base_/datasets/cityscapes_512x1024.py',
    '../_base_/schedules/schedule_40k_b16.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-d8_8xb2-40k_cityscapes-512x1024.py'),
    teacher=dict(cfg_path='configs/baselines/pspnet_r101-d8_8xb2-40k_cityscapes-512x1024.py'),
    teacher_ckpt='work_dirs/pspnet_r101-d8_8xb2-40k_cityscapes-512x1024/best.pth',
    distiller=_base_.bcd,
)
