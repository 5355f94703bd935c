# NYUv2 for an RGB-D teacher and an RGB student: training reads depth, validation and test do not.
_base_ = ['./nyuv2_480x640.py']
load_x = dict(type='LoadXFromFile', scale=1e-3)  # metres
train_pipeline = [
    dict(type='LoadImageFromFile'),
    load_x,
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=(640, 480), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(480, 640)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackRGBXInputs', fill=3.0),  # the mean: 0 would be at the camera
]
train_dataloader = dict(dataset=dict(data_prefix=dict(x_path='depths/train'), pipeline=train_pipeline))
