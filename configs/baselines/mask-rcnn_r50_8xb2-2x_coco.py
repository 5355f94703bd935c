_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_2x.py',
    '../_base_/default_runtime_coco.py',
]
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))  # its masks are what it is compared by
