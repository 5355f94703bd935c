_base_ = [
    '../_base_/distillers/lix.py',
    '../_base_/datasets/nyuv2_rgb_depth_480x640.py',
    '../_base_/schedules/schedule_50k_b8_adamw.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/segformer_mit-b0_4xb2-50k_nyuv2-480x640.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_duplex-r101-d8_4xb2-50k_nyuv2-480x640.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_duplex-r101-d8_4xb2-50k_nyuv2-480x640/best.pth',
    inputs=dict(channels=dict(rgb=3, depth=1)),
)
