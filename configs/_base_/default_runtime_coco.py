# Runs on COCO, counted in epochs: mmdet's own, with the best checkpoint kept.
_base_ = ['mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['kd_methods'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP'))
randomness = dict(seed=0)
