_base_ = [
    '../_base_/distillers/dmkd.py',
    '../_base_/datasets/scenes_det.py',
    '../_base_/schedules/scenes_det_student.py',
    '../_base_/default_runtime_det.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/retinanet_r18-w16_scenescoco.py'),
    teacher=dict(cfg_path='configs/baselines/retinanet_r18_scenescoco.py'),
    teacher_ckpt='work_dirs/retinanet_r18_scenescoco/best.pth',
    inherit=(
        'bbox_head',
    ),  # the neck takes maps of the backbone's width, so it is not of the teacher's shape
    distiller=dict(
        _base_.dmkd, loss_weight=1e-4
    ),  # of four trials the best here; the neck is 64 wide, not 256
    dry_run_size=(96, 96),
)
optim_wrapper = dict(paramwise_cfg=_base_.fusion_without_decay)
