_base_ = ['./lix_deeplabv3plus_duplex-r101-d8_deeplabv3plus_r18-d8_8xb3-50k_cityscapes-512x512.py']
model = dict(
    teacher=dict(cfg_path='configs/baselines/deeplabv3plus_duplex-late-r101-d8_8xb3-50k_cityscapes-512x512.py'),
    teacher_ckpt='work_dirs/deeplabv3plus_duplex-late-r101-d8_8xb3-50k_cityscapes-512x512/best.pth',
    distiller=dict(student_features='features', teacher_features='features'))
