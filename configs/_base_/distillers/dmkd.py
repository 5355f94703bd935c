# One-stage detectors, all levels of the neck. The student starts from the teacher's neck and head, as MGD's does.
model = dict(
    inherit=('neck', 'bbox_head'),
    distiller=dict(type='DMKDDistiller', loss_weight=2e-5, spatial_ratio=0.65, channel_ratio=0.65, tau=0.5))
# The fusion's two weights a level have no decay.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.fusion': dict(decay_mult=0.0)}))
