# Students on CamVid with few labels, alone or distilled: half as long.
_base_ = ['./camvid_student.py']
max_iters = 2000
warm_up = 200
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=warm_up)
param_scheduler[1].update(T_max=max_iters - warm_up, begin=warm_up, end=max_iters)
train_cfg = dict(max_iters=max_iters)
