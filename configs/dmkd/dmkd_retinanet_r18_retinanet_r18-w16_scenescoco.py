_base_ = [
    '../_base_/distillers/dmkd.py',
    '../_base_/datasets/scenes_det.py', '../_base_/schedules/scenes_det_student.py',
    '../_base_/default_runtime_det.py'
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/retinanet_r18-w16_scenescoco.py'),
    teacher=dict(cfg_path='configs/baselines/retinanet_r18_scenescoco.py'),
    teacher_ckpt='work_dirs/retinanet_r18_scenescoco/best.pth',
    inherit=('bbox_head', ),  # the neck takes maps of the backbone's width, so it is not of the teacher's shape
    distiller=_base_.dmkd,
    dry_run_size=(96, 96))
optim_wrapper = dict(paramwise_cfg=_base_.fusion_without_decay)
