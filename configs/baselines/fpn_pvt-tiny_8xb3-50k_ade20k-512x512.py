_base_ = [
    '../_base_/models/fpn_pvt-tiny.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_50k_b24_adamw.py',
]
model = dict(data_preprocessor=dict(size=(512, 512)), decode_head=dict(num_classes=150))
