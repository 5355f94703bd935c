# The teacher of late fusion: two branches, whose maps before the classifier are summed.
_base_ = ['./pspnet_duplex-r18-w16_scenesrgbd.py']
model = dict(
    backbone=dict(fusion=None),
    decode_head=dict(_delete_=True, type='LateFusionHead', rgb=_base_.model.decode_head),
)
