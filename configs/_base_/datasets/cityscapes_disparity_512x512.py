# Cityscapes with disparity, in training and test.
_base_ = ['./cityscapes_rgb_disparity_512x512.py']
test_pipeline = [
    dict(type='LoadImageFromFile'),
    _base_.load_x,
    dict(type='Resize', scale=(2048, 1024), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackRGBXInputs'),
]
val_dataloader = dict(
    dataset=dict(
        type='CityscapesDisparityDataset', data_prefix=dict(x_path='disparity/val'), pipeline=test_pipeline
    )
)
test_dataloader = val_dataloader
