_base_ = [
    '../_base_/models/deeplabv3_mobilenet-v2-d8.py',
    '../_base_/datasets/camvid_360x360.py',
    '../_base_/schedules/schedule_40k_b16.py',
]
model = dict(data_preprocessor=dict(size=(360, 360)), decode_head=dict(num_classes=11))
