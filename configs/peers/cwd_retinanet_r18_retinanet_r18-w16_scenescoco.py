_base_ = ['../dmkd/dmkd_retinanet_r18_retinanet_r18-w16_scenescoco.py', '../_base_/distillers/neck_cwd.py']
# The neck has three levels here.
distiller = {
    key: {name: part for name, part in value.items() if name[-1] in '012'}
    if isinstance(value, dict)
    else value
    for key, value in _base_.neck_cwd.items()
}
model = dict(distiller=dict(distiller, _delete_=True))
