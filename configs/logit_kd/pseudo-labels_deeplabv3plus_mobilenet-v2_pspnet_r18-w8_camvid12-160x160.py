# The teacher's likeliest class as the label. 12 labelled images, the others without labels.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid12.py']
model = dict(distiller=dict(type='LogitKDDistiller', hard=True))
