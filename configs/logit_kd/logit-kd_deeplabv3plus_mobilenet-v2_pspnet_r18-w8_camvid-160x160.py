# Logits of a quarter and of an eighth of the side: the student's are resized.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid.py']
model = dict(distiller=dict(type='LogitKDDistiller'))
