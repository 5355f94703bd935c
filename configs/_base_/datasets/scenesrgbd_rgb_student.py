# The RGB-D scenes for an RGB-D teacher and an RGB student: training reads depth, validation and test do not.
_base_ = ['./scenesrgbd_rgb.py']
train_pipeline = [
    dict(type='LoadImageFromFile'),
    # The sensor's millimetres -> inverse depth in 1/m, in which near things differ most.
    dict(type='LoadXFromFile', scale=1e-3, inverse=True, clip=(0.0, 0.6)),
    dict(type='LoadAnnotations'),
    dict(type='PackRGBXInputs'),
]
train_dataloader = dict(dataset=dict(data_prefix=dict(x_path='train/depths'), pipeline=train_pipeline))
