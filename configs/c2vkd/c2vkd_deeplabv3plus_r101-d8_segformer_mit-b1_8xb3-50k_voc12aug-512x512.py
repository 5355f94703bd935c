_base_ = ['../_base_/datasets/voc12_aug_512x512.py', '../_base_/schedules/schedule_50k_b24_adamw.py']
train_dataloader = dict(batch_size=3)
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/segformer_mit-b1_8xb3-50k_voc12aug-512x512.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_r101-d8_8xb3-50k_voc12aug-512x512.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_r101-d8_8xb3-50k_voc12aug-512x512/best.pth',
    distiller=dict(
        type='C2VKDDistiller',
        student_feature='features',
        teacher_feature='features',
        vlfd=dict(loss_weight=dict(type='auto', ratio=1.0)),
    ),
)
