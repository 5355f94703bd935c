# DMKD, with weight and ratios for one-stage and for two-stage detectors.
dmkd = dict(type='DMKDDistiller', loss_weight=2e-5, spatial_ratio=0.65, channel_ratio=0.65)
dmkd_two_stage = dict(
    type='DMKDDistiller',
    features=['neck.0', 'neck.1', 'neck.2', 'neck.3'],
    loss_weight=5e-7,
    spatial_ratio=0.45,
    channel_ratio=0.45,
)
# The two weights a level that mix the branches.
fusion_without_decay = dict(custom_keys={'.fusion': dict(decay_mult=0.0)})
