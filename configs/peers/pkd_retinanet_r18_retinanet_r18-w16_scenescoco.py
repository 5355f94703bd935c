_base_ = [
    '../dmkd/dmkd_retinanet_r18_retinanet_r18-w16_scenescoco.py',
    '../_base_/distillers/neck_pkd.py'
]
model = dict(distiller=dict(_base_.neck_pkd, _delete_=True))
