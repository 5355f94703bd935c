_base_ = ['./lix_deeplabv3plus_duplex-r101-d8_deeplabv3plus_r18-d8_4xb2-50k_nyuv2-480x640.py']
model = dict(
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_duplex-late-r101-d8_4xb2-50k_nyuv2-480x640.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_duplex-late-r101-d8_4xb2-50k_nyuv2-480x640/best.pth',
    # The last map that RGB and X have in common; between two maps before the classifiers ARFD did harm on the scenes.
    distiller=dict(student_features='backbone.3', teacher_features='features'))
