# mmdet has no base of this model alone. Its config has the data and the schedule of the other students but
# for what follows.
_base_ = ['mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_2x_coco.py']
custom_imports = dict(imports=['kd_methods'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP'))
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
randomness = dict(seed=0)
