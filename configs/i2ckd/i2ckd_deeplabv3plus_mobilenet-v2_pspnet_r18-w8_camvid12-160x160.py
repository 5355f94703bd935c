# I2CKD at its defaults.
# 12 images have labels, the others have none.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid12.py']
model = dict(distiller=dict(type='I2CKDDistiller'), labels='truth+teacher')
