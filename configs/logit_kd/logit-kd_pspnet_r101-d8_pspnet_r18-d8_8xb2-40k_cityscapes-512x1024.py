_base_ = ['../i2ckd/i2ckd_pspnet_r101-d8_pspnet_r18-d8_8xb2-40k_cityscapes-512x1024.py']
model = dict(distiller=dict(_delete_=True, type='LogitKDDistiller'))
