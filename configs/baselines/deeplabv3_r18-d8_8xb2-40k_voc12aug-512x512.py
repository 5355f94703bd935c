_base_ = [
    '../_base_/models/deeplabv3_r18-d8.py',
    '../_base_/datasets/voc12_aug_512x512.py',
    '../_base_/schedules/schedule_40k_b16.py',
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
