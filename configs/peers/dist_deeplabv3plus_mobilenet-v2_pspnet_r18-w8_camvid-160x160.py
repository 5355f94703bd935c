# DIST on the logits.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid.py', '../_base_/distillers/dist.py']
model = dict(distiller=_base_.dist)
