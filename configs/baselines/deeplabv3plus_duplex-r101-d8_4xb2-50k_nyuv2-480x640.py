_base_ = [
    '../_base_/models/deeplabv3plus_duplex-r101-d8.py',
    '../_base_/datasets/nyuv2_depth_480x640.py',
    '../_base_/schedules/schedule_50k_b8_sgd.py',
]
model = dict(
    # Metres indoors, a rough scale.
    data_preprocessor=dict(size=(480, 640), x_mean=[3.0], x_std=[1.5]),
    decode_head=dict(num_classes=40),
    auxiliary_head=dict(num_classes=40),
)
