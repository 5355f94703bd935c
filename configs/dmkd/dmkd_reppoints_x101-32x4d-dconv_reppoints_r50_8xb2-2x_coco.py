_base_ = ['../baselines/reppoints_r50_8xb2-2x_coco.py', '../_base_/distillers/dmkd.py']
model = dict(
    _delete_=True,
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/reppoints_r50_8xb2-2x_coco.py'),
    teacher=dict(cfg_path='mmdet::reppoints/reppoints-moment_x101-dconv-c3-c5_fpn-gn_head-gn_2x_coco.py'),
    # noqa: E251
    teacher_ckpt='https://download.openmmlab.com/mmdetection/v2.0/reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco_20200329-f87da1ea.pth',  # noqa: E501
    inherit=('neck', 'bbox_head'),
    distiller=_base_.dmkd,
)
optim_wrapper = dict(paramwise_cfg=_base_.fusion_without_decay)
