"""Tiny detectors of every kind, and batches for them."""

from __future__ import annotations

import copy
import warnings

import torch

SIZE = 64
NORM = dict(type='BN', requires_grad=True)


def tiny_detector(kind: str = 'retinanet', width: int = 4, classes: int = 3) -> dict:
    """Model dict of a detector on an R18 of `width` channels with a neck of 8.

    `kind`: 'retinanet', 'reppoints', 'solo', 'faster', 'mask', 'cascade' or 'cascade_mask'.
    """
    from mmengine.hub import get_config

    path = dict(
        retinanet='retinanet/retinanet_r18_fpn_1x_coco.py',
        reppoints='reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco.py',
        solo='solo/solo_r50_fpn_1x_coco.py',
        faster='faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        mask='mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        cascade='cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
        cascade_mask='cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
    )[kind]
    model = copy.deepcopy(get_config(f'mmdet::{path}').model.to_dict())
    model.update(_scope_='mmdet')
    model['backbone'].update(
        depth=18,
        deep_stem=True,
        stem_channels=width,
        base_channels=width,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    )
    model['neck'].update(in_channels=[width, 2 * width, 4 * width, 8 * width], out_channels=8)
    if 'norm_cfg' in model['neck']:
        model['neck']['norm_cfg'] = dict(type='GN', num_groups=2)
    head = model.get('bbox_head') or model.get('mask_head')
    if head is not None:
        head.update(in_channels=8, feat_channels=8, stacked_convs=1, num_classes=classes)
        if kind == 'solo':
            head.update(num_grids=[8, 6, 4, 3, 2], norm_cfg=dict(type='GN', num_groups=2))
        if kind == 'reppoints':
            head.update(point_feat_channels=8, norm_cfg=dict(type='GN', num_groups=2))
        return model
    model['rpn_head'].update(in_channels=8, feat_channels=8)
    roi = model['roi_head']
    for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
        if name in roi:
            roi[name].update(out_channels=8)
    for part in roi['bbox_head'] if isinstance(roi['bbox_head'], list) else [roi['bbox_head']]:
        part.update(in_channels=8, fc_out_channels=16, num_classes=classes)
    if 'mask_head' in roi:
        roi['mask_head'].update(num_convs=1, in_channels=8, conv_out_channels=8, num_classes=classes)
    for cfg in (model['train_cfg']['rpn_proposal'], model['test_cfg']['rpn']):
        cfg.update(nms_pre=50, max_per_img=20)
    return model


def detection_batch(
    sizes=((SIZE, SIZE), (SIZE, SIZE)), objects: int = 2, masks: bool = False, seed: int = 0
) -> dict:
    """Raw images of these heights and widths with boxes (and masks), as a dataloader collates them."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    g = torch.Generator().manual_seed(seed)
    images, samples = [], []
    for height, width in sizes:
        images.append(torch.randint(0, 256, (3, height, width), generator=g, dtype=torch.uint8))
        corners = torch.rand(objects, 2, generator=g) * torch.tensor([width / 2, height / 2])
        extent = 8 + torch.rand(objects, 2, generator=g) * torch.tensor([width / 2 - 8, height / 2 - 8])
        boxes = torch.cat([corners, corners + extent], 1)
        instances = InstanceData(bboxes=boxes, labels=torch.randint(0, 3, (objects,), generator=g))
        if masks:
            maps = torch.zeros(objects, height, width, dtype=torch.uint8)
            for map_, (x1, y1, x2, y2) in zip(maps, boxes.round().int().tolist()):
                map_[y1:y2, x1:x2] = 1
            instances.masks = BitmapMasks(maps.numpy(), height, width)
        nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
        sample = DetDataSample(gt_instances=instances, ignored_instances=nothing)
        sample.set_metainfo(
            dict(img_shape=(height, width), ori_shape=(2 * height, 2 * width), scale_factor=(0.5, 0.5))
        )
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def build_detection(
    distiller: dict, student: str | dict = 'retinanet', teacher: str | dict | None = None, **algorithm
):
    """A built FrozenTeacherDistill in training mode: a detector of width 4, taught by one of width 8."""
    from mmengine.registry import MODELS

    networks = [
        tiny_detector(student, 4) if isinstance(student, str) else student,
        tiny_detector(teacher or student, 8) if isinstance(teacher or student, str) else teacher,
    ]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='model.teacher_ckpt is not set')
        model = MODELS.build(
            dict(
                type='FrozenTeacherDistill',
                architecture=networks[0],
                teacher=networks[1],
                distiller=distiller,
                dry_run_size=(SIZE, SIZE),
                **algorithm,
            )
        )
    return model.train()
