# The teacher has 40.8 box AP, 36.6 mask AP in mmdet's list.
_base_ = ['../baselines/mask-rcnn_r50_8xb2-2x_coco.py', '../_base_/distillers/bcd.py']
model = dict(
    _delete_=True,
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/mask-rcnn_r50_8xb2-2x_coco.py'),
    teacher=dict(cfg_path='mmdet::mask_rcnn/mask-rcnn_r101_fpn_2x_coco.py'),
    # noqa: E251
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r101_fpn_2x_coco/mask_rcnn_r101_fpn_2x_coco_bbox_mAP-0.408__segm_mAP-0.366_20200505_071027-14b391c7.pth',  # noqa: E501
    distiller=_base_.bcd,
)
