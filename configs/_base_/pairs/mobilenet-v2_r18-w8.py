# Who teaches whom on CamVid at 240 x 180; a config adds data, schedule and model.distiller. The teacher has
# seen all labels; for one that has not, name its file in teacher_ckpt.
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-w8_camvid-160x160.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_mobilenet-v2_camvid-160x160.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_mobilenet-v2_camvid-160x160/best.pth',
    # Faster on a CPU or GPU with bf16; where there is none, teacher_precision='same'.
    teacher_precision='bf16',
    teacher_fold_bn=True,
    teacher_channels_last=True,
)
