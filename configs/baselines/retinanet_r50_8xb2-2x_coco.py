_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_2x_one_stage.py',
    '../_base_/default_runtime_coco.py',
]
