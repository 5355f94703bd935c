# 24 epochs of 16 images a step (8 GPUs x 2), alone or distilled: mmdet's 2x, for two-stage detectors, with
# clipped gradients.
_base_ = ['mmdet::_base_/schedules/schedule_2x.py']
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
