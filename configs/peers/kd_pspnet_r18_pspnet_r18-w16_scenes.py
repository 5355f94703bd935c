_base_ = ['../i2ckd/i2ckd_pspnet_r18_pspnet_r18-w16_scenes.py', '../_base_/distillers/logit_kd.py']
_base_.logit_kd.distill_losses.loss_kd.loss_weight = 11.0  # classes
model = dict(distiller=dict(_base_.logit_kd, _delete_=True))
