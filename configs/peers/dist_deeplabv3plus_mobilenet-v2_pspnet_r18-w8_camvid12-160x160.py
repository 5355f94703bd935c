# DIST on the logits.
# 12 images have labels, the others have none.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid12.py', '../_base_/distillers/dist.py']
model = dict(distiller=_base_.dist)
