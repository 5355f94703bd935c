# 50k iterations of 24 images in all (8 GPUs x 3): SGD, lr 0.01, weight decay 5e-4, poly 0.9 to 1e-4, as mmseg
# trains its CNNs.
_base_ = ['../default_runtime.py']
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005)
)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=50000, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=50000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=5000))
