_base_ = [
    '../_base_/models/pspnet_r18-d8.py',
    '../_base_/datasets/camvid_360x360.py',
    '../_base_/schedules/schedule_40k_b16.py',
]
model = dict(
    data_preprocessor=dict(size=(360, 360)),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
)
