# A student on CamVid with 12 labelled images.
_base_ = [
    '../_base_/models/pspnet_r18-w8_camvid.py',
    '../_base_/datasets/camvid_240x180_12-labels.py',
    '../_base_/schedules/camvid_student-2k.py',
    '../_base_/default_runtime.py',
]
