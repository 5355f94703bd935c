_base_ = [
    '../_base_/distillers/bcd.py',
    '../_base_/datasets/scenes_det.py', '../_base_/schedules/scenes_det_student.py',
    '../_base_/default_runtime_det.py'
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/faster-rcnn_r18-w16_scenescoco.py'),
    teacher=dict(cfg_path='configs/baselines/faster-rcnn_r18_scenescoco.py'),
    teacher_ckpt='work_dirs/faster-rcnn_r18_scenescoco/best.pth',
    distiller=_base_.bcd,
    dry_run_size=(96, 96))
