# Vision-transformer students on the sign scenes: they are slower to leave the background plateau than CNNs.
_base_ = ['./scenes_student.py']
max_iters = 1000
warm_up = 150
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
train_cfg = dict(max_iters=max_iters, val_interval=500)
