# All images have labels.
_base_ = [
    './mobilenet-v2_r18-w8.py',
    '../datasets/camvid_240x180.py',
    '../schedules/camvid_student.py',
    '../default_runtime.py',
]
