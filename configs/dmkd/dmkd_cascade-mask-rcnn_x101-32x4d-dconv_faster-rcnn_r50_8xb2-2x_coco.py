# The teacher stops after its neck, so the data needs no masks.
_base_ = ['../baselines/faster-rcnn_r50_8xb2-2x_coco.py', '../_base_/distillers/dmkd.py']
model = dict(
    _delete_=True,
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/faster-rcnn_r50_8xb2-2x_coco.py'),
    teacher=dict(cfg_path='mmdet::dcn/cascade-mask-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco.py'),
    # noqa: E251
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/dcn/cascade_mask_rcnn_x101_32x4d_fpn_dconv_c3-c5_1x_coco/cascade_mask_rcnn_x101_32x4d_fpn_dconv_c3-c5_1x_coco-e75f90c8.pth',  # noqa: E501
    distiller=_base_.dmkd_two_stage,
)
optim_wrapper = dict(paramwise_cfg=_base_.fusion_without_decay)
