# The teacher on CamVid where nobody has more than 12 labelled images, those of its students: every 32nd.
_base_ = ['./deeplabv3plus_mobilenet-v2_camvid-160x160.py']
train_dataloader = dict(dataset=dict(indices=list(range(0, 367, 32))))
max_iters = 1000
warm_up = 100
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warm_up)
param_scheduler[1].update(T_max=max_iters - warm_up, begin=warm_up, end=max_iters)
train_cfg = dict(max_iters=max_iters)
