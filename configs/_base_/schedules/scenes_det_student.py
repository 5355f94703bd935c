# Detectors on the sign scenes, alone or distilled.
_base_ = ['./scenes_student.py']
max_iters = 600
warm_up = 100
optim_wrapper = dict(optimizer=dict(lr=4e-3), clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=warm_up, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        T_max=max_iters - warm_up,
        begin=warm_up,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=300)
