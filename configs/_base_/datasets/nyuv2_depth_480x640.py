# NYUv2 with depth, in training and test.
_base_ = ['./nyuv2_rgb_depth_480x640.py']
test_pipeline = [
    dict(type='LoadImageFromFile'),
    _base_.load_x,
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackRGBXInputs', fill=3.0),  # the mean: 0 would be at the camera
]
val_dataloader = dict(dataset=dict(data_prefix=dict(x_path='depths/test'), pipeline=test_pipeline))
test_dataloader = val_dataloader
