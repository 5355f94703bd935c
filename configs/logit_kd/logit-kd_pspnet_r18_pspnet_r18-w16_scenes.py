_base_ = ['../i2ckd/i2ckd_pspnet_r18_pspnet_r18-w16_scenes.py']
model = dict(distiller=dict(_delete_=True, type='LogitKDDistiller'))
