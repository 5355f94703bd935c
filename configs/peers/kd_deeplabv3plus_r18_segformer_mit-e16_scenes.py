_base_ = ['../c2vkd/c2vkd_deeplabv3plus_r18_segformer_mit-e16_scenes.py', '../_base_/distillers/logit_kd.py']
_base_.logit_kd.distill_losses.loss_kd.loss_weight = 11.0  # classes
model = dict(distiller=dict(_base_.logit_kd, _delete_=True))
