_base_ = [
    '../_base_/distillers/bcd.py',
    '../_base_/datasets/scenes_det.py',
    '../_base_/schedules/scenes_det_student.py',
    '../_base_/default_runtime_det.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/faster-rcnn_r18-w16_scenescoco.py'),
    teacher=dict(cfg_path='configs/baselines/faster-rcnn_r18_scenescoco.py'),
    teacher_ckpt='work_dirs/faster-rcnn_r18_scenescoco/best.pth',
    # On images of 96 x 96 the backbone's last map has 3 x 3 places, too few to relate to; the neck's first
    # one has 24 x 24.
    distiller=dict(_base_.bcd, features=['neck.0', 'neck.1', 'neck.2'], context_features='neck.0'),
    dry_run_size=(96, 96),
)
