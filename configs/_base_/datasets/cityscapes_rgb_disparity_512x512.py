# Cityscapes for an RGB-X teacher and an RGB student: training reads disparity, validation and test do not.
# Disparity: the official disparity_trainvaltest.zip beside leftImg8bit and gtFine.
_base_ = ['./cityscapes_512x512.py']
load_x = dict(type='LoadXFromFile', scale=1 / 256, offset=-1 / 256)  # pixels; 0 where there is none
train_pipeline = [
    dict(type='LoadImageFromFile'),
    load_x,
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 512)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackRGBXInputs'),
]
train_dataloader = dict(
    dataset=dict(
        type='CityscapesDisparityDataset', data_prefix=dict(x_path='disparity/train'), pipeline=train_pipeline
    )
)
