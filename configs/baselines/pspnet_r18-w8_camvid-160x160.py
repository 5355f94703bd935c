# A student on CamVid that starts from nothing.
_base_ = [
    '../_base_/models/pspnet_r18-w8_camvid.py',
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/camvid_student.py',
    '../_base_/default_runtime.py',
]
