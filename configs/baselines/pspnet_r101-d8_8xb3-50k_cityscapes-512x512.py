_base_ = [
    '../_base_/models/pspnet_r101-d8.py',
    '../_base_/datasets/cityscapes_512x512.py',
    '../_base_/schedules/schedule_50k_b24_sgd.py',
]
model = dict(data_preprocessor=dict(size=(512, 512)))
