# Who teaches whom on CamVid with 12 labelled images and all images without labels; a config adds
# model.distiller. The teacher has seen all labels; for one that has not, name its file in teacher_ckpt.
_base_ = [
    '../datasets/camvid_240x180_12-labels-and-images.py',
    '../schedules/camvid_student-2k.py',
    '../default_runtime.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-w8_camvid12-160x160.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_mobilenet-v2_camvid-160x160.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_mobilenet-v2_camvid-160x160/best.pth',
    # Faster on a CPU or GPU with bf16; where there is none, teacher_precision='same'.
    teacher_precision='bf16',
    teacher_fold_bn=True,
    teacher_channels_last=True,
)
