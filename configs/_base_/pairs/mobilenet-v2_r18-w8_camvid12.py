# 12 images have labels, and all are there without.
_base_ = [
    './mobilenet-v2_r18-w8.py',
    '../datasets/camvid_240x180_12-labels-and-images.py',
    '../schedules/camvid_student-2k.py',
    '../default_runtime.py',
]
model = dict(architecture=dict(cfg_path='configs/baselines/pspnet_r18-w8_camvid12-160x160.py'))
