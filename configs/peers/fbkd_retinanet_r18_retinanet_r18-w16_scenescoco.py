_base_ = ['../dmkd/dmkd_retinanet_r18_retinanet_r18-w16_scenescoco.py', '../_base_/distillers/neck_fbkd.py']
# P3 and P4: the connectors pool twice, which P5, of 3 places a side here, is too small for.
distiller = {
    key: {name: part for name, part in value.items() if name[-1] in '01'}
    if isinstance(value, dict)
    else value
    for key, value in _base_.neck_fbkd.items()
}
for connector in distiller['connectors'].values():
    connector.update(in_channels=64)
del connector
model = dict(distiller=dict(distiller, _delete_=True))
