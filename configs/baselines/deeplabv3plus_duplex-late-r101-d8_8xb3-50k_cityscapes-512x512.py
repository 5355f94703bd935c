# The teacher of late fusion: two branches, whose maps before the classifier are summed.
_base_ = ['./deeplabv3plus_duplex-r101-d8_8xb3-50k_cityscapes-512x512.py']
model = dict(
    backbone=dict(fusion=None),
    decode_head=dict(_delete_=True, type='LateFusionHead', rgb=_base_.model.decode_head),
)
