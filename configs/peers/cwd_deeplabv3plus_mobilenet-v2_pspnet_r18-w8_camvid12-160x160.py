# CWD on the logits.
# 12 images have labels, the others have none.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid12.py', '../_base_/distillers/cwd.py']
_base_.cwd.distill_losses.loss_cwd.loss_weight = 10.0
model = dict(distiller=_base_.cwd)
