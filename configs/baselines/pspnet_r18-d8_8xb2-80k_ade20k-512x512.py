_base_ = [
    '../_base_/models/pspnet_r18-d8.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_80k_b16.py',
]
train_dataloader = dict(batch_size=2)
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
