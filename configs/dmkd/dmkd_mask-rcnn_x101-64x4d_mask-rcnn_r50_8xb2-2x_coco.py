# Instance segmentation. Of the 1x and 2x teachers with this backbone the better: 42.8 box AP, 38.4 mask AP in
# mmdet's list.
_base_ = ['../baselines/mask-rcnn_r50_8xb2-2x_coco.py', '../_base_/distillers/dmkd.py']
model = dict(
    _delete_=True,
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/mask-rcnn_r50_8xb2-2x_coco.py'),
    teacher=dict(cfg_path='mmdet::mask_rcnn/mask-rcnn_x101-64x4d_fpn_1x_coco.py'),
    # noqa: E251
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_x101_64x4d_fpn_1x_coco/mask_rcnn_x101_64x4d_fpn_1x_coco_20200201-9352eb0d.pth',  # noqa: E501
    distiller=_base_.dmkd_two_stage,
)
optim_wrapper = dict(paramwise_cfg=_base_.fusion_without_decay)
