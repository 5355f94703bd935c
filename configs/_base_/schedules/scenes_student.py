# Students on the sign scenes, alone or distilled: every arm takes this one schedule.
max_iters = 700
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.01))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=4e-3, total_steps=max_iters, pct_start=0.3, by_epoch=False)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=350)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
