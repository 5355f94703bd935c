# CWD on the logits.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid.py', '../_base_/distillers/cwd.py']
_base_.cwd.distill_losses.loss_cwd.loss_weight = 3.0
model = dict(distiller=_base_.cwd)
