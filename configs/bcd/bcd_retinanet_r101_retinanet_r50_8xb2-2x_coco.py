# The teacher has 38.9 box AP in mmdet's list.
_base_ = ['../baselines/retinanet_r50_8xb2-2x_coco.py', '../_base_/distillers/bcd.py']
model = dict(
    _delete_=True,
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/retinanet_r50_8xb2-2x_coco.py'),
    teacher=dict(cfg_path='mmdet::retinanet/retinanet_r101_fpn_2x_coco.py'),
    # noqa: E251
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r101_fpn_2x_coco/retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth',  # noqa: E501
    distiller=_base_.bcd,
)
