_base_ = [
    '../dmkd/dmkd_retinanet_r18_retinanet_r18-w16_scenescoco.py',
    '../_base_/distillers/neck_mgd.py'
]
model = dict(distiller=dict(_base_.neck_mgd, _delete_=True))
for _connector in model['distiller']['connectors'].values():
    _connector.update(student_channels=64, teacher_channels=64)
