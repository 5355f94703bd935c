_base_ = [
    '../_base_/distillers/lix.py',
    '../_base_/datasets/cityscapes_rgb_disparity_512x512.py',
    '../_base_/schedules/schedule_50k_b24_adamw.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/segformer_mit-b0_8xb3-50k_cityscapes-512x512.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_duplex-r101-d8_8xb3-50k_cityscapes-512x512.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_duplex-r101-d8_8xb3-50k_cityscapes-512x512/best.pth',
    inputs=dict(channels=dict(rgb=3, disparity=1)),
)
