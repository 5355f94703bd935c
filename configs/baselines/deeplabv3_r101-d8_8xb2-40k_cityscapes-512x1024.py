_base_ = [
    '../_base_/models/deeplabv3_r101-d8.py',
    '../_base_/datasets/cityscapes_512x1024.py',
    '../_base_/schedules/schedule_40k_b16.py',
]
model = dict(data_preprocessor=dict(size=(512, 1024)))
