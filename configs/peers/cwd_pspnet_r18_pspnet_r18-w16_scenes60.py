# 60 labelled scenes, and all scenes without labels.
_base_ = ['../logit_kd/logit-kd_pspnet_r18_pspnet_r18-w16_scenes60.py', '../_base_/distillers/cwd.py']
model = dict(distiller=dict(_base_.cwd, _delete_=True))
