_base_ = [
    '../_base_/models/deeplabv3plus_duplex-r101-d8.py',
    '../_base_/datasets/cityscapes_disparity_512x512.py',
    '../_base_/schedules/schedule_50k_b24_sgd.py',
]
model = dict(
    # Pixels of disparity, a rough scale.
    data_preprocessor=dict(size=(512, 512), x_mean=[30.0], x_std=[30.0])
)
