# One-stage detectors learn at half the rate, as in mmdet.
_base_ = ['./coco_2x.py']
optim_wrapper = dict(optimizer=dict(lr=0.01))
