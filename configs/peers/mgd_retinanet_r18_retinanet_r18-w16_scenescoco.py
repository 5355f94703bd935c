_base_ = ['../dmkd/dmkd_retinanet_r18_retinanet_r18-w16_scenescoco.py', '../_base_/distillers/neck_mgd.py']
# The neck has three levels here.
distiller = {
    key: {name: part for name, part in value.items() if name[-1] in '012'}
    if isinstance(value, dict)
    else value
    for key, value in _base_.neck_mgd.items()
}
for part in distiller['connectors'].values():
    part.update(student_channels=64, teacher_channels=64)
for part in distiller['distill_losses'].values():
    part.update(alpha_mgd=1e-4)  # of four trials the best here
del part
model = dict(distiller=dict(distiller, _delete_=True))
