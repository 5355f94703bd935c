_base_ = ['../baselines/retinanet_r50_8xb2-2x_coco.py', '../_base_/distillers/dmkd.py']
model = dict(
    _delete_=True,
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/retinanet_r50_8xb2-2x_coco.py'),
    teacher=dict(cfg_path='mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py'),
    # noqa: E251
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_x101_64x4d_fpn_1x_coco/retinanet_x101_64x4d_fpn_1x_coco_20200130-366f5af1.pth',  # noqa: E501
    inherit=('neck', 'bbox_head'),
    distiller=_base_.dmkd,
)
optim_wrapper = dict(paramwise_cfg=_base_.fusion_without_decay)
