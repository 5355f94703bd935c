# The teacher on CamVid where nobody has more than 12 labelled images, those of its students: every 32nd.
_base_ = ['./deeplabv3plus_mobilenet-v2_camvid-160x160.py']
train_dataloader = dict(dataset=dict(indices=list(range(0, 367, 32))))
max_iters = 1000
warm_up = 100
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
train_cfg = dict(max_iters=max_iters)
