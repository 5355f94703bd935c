_base_ = ['mmseg::_base_/models/segformer_mit-b0.py']
checkpoint = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    decode_head=dict(loss_decode=dict(avg_non_ignore=True)),
)
