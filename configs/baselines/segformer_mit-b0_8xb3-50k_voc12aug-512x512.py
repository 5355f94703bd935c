_base_ = [
    '../_base_/models/segformer_mit-b0.py',
    '../_base_/datasets/voc12_aug_512x512.py',
    '../_base_/schedules/schedule_50k_b24_adamw.py',
]
train_dataloader = dict(batch_size=3)
model = dict(data_preprocessor=dict(size=(512, 512)), decode_head=dict(num_classes=21))
