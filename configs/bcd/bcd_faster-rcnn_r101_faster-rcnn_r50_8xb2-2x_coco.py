# The teacher has 39.8 box AP in mmdet's list.
_base_ = ['../baselines/faster-rcnn_r50_8xb2-2x_coco.py', '../_base_/distillers/bcd.py']
model = dict(
    _delete_=True,
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/faster-rcnn_r50_8xb2-2x_coco.py'),
    teacher=dict(cfg_path='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'),
    # noqa: E251
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r101_fpn_2x_coco/faster_rcnn_r101_fpn_2x_coco_bbox_mAP-0.398_20200504_210455-1d2dac9c.pth',  # noqa: E501
    distiller=_base_.bcd,
)
