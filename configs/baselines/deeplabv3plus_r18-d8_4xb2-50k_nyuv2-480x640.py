_base_ = [
    '../_base_/models/deeplabv3plus_r18-d8.py',
    '../_base_/datasets/nyuv2_480x640.py',
    '../_base_/schedules/schedule_50k_b8_sgd.py',
]
model = dict(
    data_preprocessor=dict(size=(480, 640)),
    decode_head=dict(num_classes=40),
    auxiliary_head=dict(num_classes=40),
)
