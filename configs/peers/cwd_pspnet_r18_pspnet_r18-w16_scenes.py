_base_ = ['../i2ckd/i2ckd_pspnet_r18_pspnet_r18-w16_scenes.py', '../_base_/distillers/cwd.py']
model = dict(distiller=dict(_base_.cwd, _delete_=True))
