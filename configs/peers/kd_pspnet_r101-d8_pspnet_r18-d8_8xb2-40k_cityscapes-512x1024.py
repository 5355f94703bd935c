_base_ = [
    '../i2ckd/i2ckd_pspnet_r101-d8_pspnet_r18-d8_8xb2-40k_cityscapes-512x1024.py',
    '../_base_/distillers/logit_kd.py',
]
_base_.logit_kd.distill_losses.loss_kd.loss_weight = 19.0  # classes
model = dict(distiller=dict(_base_.logit_kd, _delete_=True))
