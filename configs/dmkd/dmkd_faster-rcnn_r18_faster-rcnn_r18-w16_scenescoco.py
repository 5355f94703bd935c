_base_ = [
    '../_base_/distillers/dmkd.py',
    '../_base_/datasets/scenes_det.py',
    '../_base_/schedules/scenes_det_student.py',
    '../_base_/default_runtime_det.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/faster-rcnn_r18-w16_scenescoco.py'),
    teacher=dict(cfg_path='configs/baselines/faster-rcnn_r18_scenescoco.py'),
    teacher_ckpt='work_dirs/faster-rcnn_r18_scenescoco/best.pth',
    distiller=_base_.dmkd_two_stage,
    dry_run_size=(96, 96),
)
optim_wrapper = dict(paramwise_cfg=_base_.fusion_without_decay)
