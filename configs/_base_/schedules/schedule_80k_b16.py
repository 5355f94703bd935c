# 80k iterations of 16 images in all (8 GPUs x 2), else as for 40k.
_base_ = ['./schedule_40k_b16.py']
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=80000, by_epoch=False)]
train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
