# The teacher's likeliest class as the label.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid.py']
model = dict(distiller=dict(type='LogitKDDistiller', hard=True))
