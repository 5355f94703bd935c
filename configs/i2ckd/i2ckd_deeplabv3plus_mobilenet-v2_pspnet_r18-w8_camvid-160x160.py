# I2CKD at its defaults.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid.py']
model = dict(distiller=dict(type='I2CKDDistiller'))
