_base_ = [
    '../_base_/datasets/scenes_seg.py',
    '../_base_/schedules/scenes_student_vit.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/segformer_mit-e16_scenes.py'),
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_r18_scenes.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_r18_scenes/best.pth',
    # Feature terms between the heads' maps: the last stages, of 3 x 3 and 12 x 12 here, did not help.
    distiller=dict(
        type='C2VKDDistiller',
        student_feature='features',
        teacher_feature='features',
        vlfd=dict(loss_weight=dict(type='auto', ratio=1.0)),
    ),
)
