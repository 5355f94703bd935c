# Feature KD between the maps before the classifiers.
_base_ = ['../_base_/pairs/mobilenet-v2_r18-w8_camvid.py']
model = dict(distiller=dict(type='FeatureKDDistiller'))
