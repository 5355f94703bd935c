_base_ = [
    '../dmkd/dmkd_retinanet_r18_retinanet_r18-w16_scenescoco.py',
    '../_base_/distillers/neck_fbkd.py'
]
# P3 to P5, of 12, 6 and 3 places a side.
model = dict(
    distiller=dict(
        _delete_=True,
        type='MethodDistiller',
        taps={f'level_{i}': f'neck.{i}' for i in range(3)},
        connectors={
            f'{side}_{i}': dict(
                type=f'mmrazor.FBKD{side.title()}Connector',
                in_channels=64,
                mode='dot_product',
                sub_sample=True)
            for i in range(3)
            for side in ('student', 'teacher')
        },
        distill_losses={f'loss_fbkd_{i}': _base_.neck_fbkd.distill_losses[f'loss_fbkd_{i}'] for i in range(3)},
        loss_forward_mappings={
            f'loss_fbkd_{i}': _base_.neck_fbkd.loss_forward_mappings[f'loss_fbkd_{i}']
            for i in range(3)
        }))
