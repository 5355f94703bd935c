_base_ = [
    '../_base_/distillers/bcd.py',
    '../_base_/datasets/cityscapes_512x512.py',
    '../_base_/schedules/schedule_50k_b24_adamw.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/segformer_mit-b0_8xb3-50k_cityscapes-512x512.py'),
    teacher=dict(cfg_path='configs/baselines/pspnet_r101-d8_8xb3-50k_cityscapes-512x512.py'),
    teacher_ckpt='work_dirs/pspnet_r101-d8_8xb3-50k_cityscapes-512x512/best.pth',
    distiller=_base_.bcd,
)
