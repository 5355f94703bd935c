# Students on the sign scenes, alone or distilled: every arm takes this one schedule.
# Linear up, cosine down. Not OneCycleLR: mmengine pickles one of its methods into every checkpoint,
# which bare torch.load(weights_only=True) refuses.
max_iters = 500
warm_up = 150
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=16e-3, weight_decay=0.01))
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
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=250)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
