# Where the RGB network of the RGB-D teacher's size starts from: the plain scenes.
_base_ = ['./pspnet_r18-w16_scenes.py']
model = dict(
    backbone=dict(stem_channels=21, base_channels=21), decode_head=dict(in_channels=168, channels=84)
)
