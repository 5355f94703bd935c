_base_ = [
    '../dmkd/dmkd_retinanet_x101-64x4d_retinanet_r50_8xb2-2x_coco.py',
    '../_base_/distillers/neck_pkd.py',
]
model = dict(distiller=dict(_base_.neck_pkd, _delete_=True))
