# Logits of a quarter and of an eighth of the side: the student's are resized.
# 12 images have labels, the others have none.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid12.py']
model = dict(distiller=dict(type='LogitKDDistiller'))
