"""The shipped configs of detectors, beside what tests/test_configs.py checks of all."""

import json
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from config_zoo import (  # the fixtures apply to the modules that have them
    BASELINES,
    DETECTORS,
    DISTILLED,
    FILES,
    config_scope,  # noqa: F401
    datasets_of,
    load,
    networks,
    read_files_once,  # noqa: F401
    without_scope,
)
from mmengine.registry import DATASETS, MODELS

from kd_methods.export.plain_config import plain_config
from kd_methods.networks.config import build_network

COCO_2X = [name for name in FILES if '_8xb2-2x_' in name]


@pytest.mark.parametrize('name', COCO_2X)
def test_published_setting_of_detectors(name):
    cfg = load(name)
    one_stage = 'rpn_head' not in networks(name)['student']
    paramwise = cfg.optim_wrapper.pop('paramwise_cfg', None)
    assert without_scope(cfg.optim_wrapper) == dict(
        type='OptimWrapper',
        clip_grad=dict(max_norm=35, norm_type=2),
        optimizer=dict(type='SGD', lr=0.01 if one_stage else 0.02, momentum=0.9, weight_decay=1e-4),
    )
    assert without_scope(cfg.param_scheduler) == [
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
        dict(type='MultiStepLR', begin=0, end=24, by_epoch=True, milestones=[16, 22], gamma=0.1),
    ]
    (dataset,) = datasets_of(cfg.train_dataloader)
    assert [t['scale'] for t in dataset['pipeline'] if t['type'] == 'Resize'] == [(1333, 800)]
    masks = 'mask' in Path(cfg.model.architecture.cfg_path if name in DISTILLED else name).name
    assert [t.get('with_mask', False) for t in dataset['pipeline'] if t['type'] == 'LoadAnnotations'] == [
        masks
    ]
    assert cfg.val_evaluator.metric == (['bbox', 'segm'] if masks else 'bbox')
    assert networks(name)['student']['backbone']['init_cfg'] == dict(
        type='Pretrained', checkpoint='torchvision://resnet50'
    )
    if name in BASELINES:
        return
    bcd = name.startswith('bcd')
    assert paramwise == (None if bcd else dict(custom_keys={'.fusion': dict(decay_mult=0.0)}))
    alone = load(Path(cfg.model.architecture.cfg_path).stem)
    for key in set(alone) - {'model'}:  # nothing but the teacher tells the two runs apart
        assert cfg[key] == alone[key], key
    assert cfg.model.get('inherit') == (('neck', 'bbox_head') if one_stage and not bcd else None)
    if name.startswith('dmkd'):
        weight, ratio = (2e-5, 0.65) if one_stage else (5e-7, 0.45)
        levels = {} if one_stage else dict(features=[f'neck.{i}' for i in range(4)])
        assert cfg.model.distiller == dict(
            type='DMKDDistiller', loss_weight=weight, spatial_ratio=ratio, channel_ratio=ratio, **levels
        )


@pytest.mark.parametrize('name', [n for n in DETECTORS if n in DISTILLED])
def test_exported_detector_is_stock(name):
    plain = plain_config(load(name))
    assert plain.model.type == networks(name)['student']['type'] and 'custom_imports' not in plain
    assert 'kd_methods' not in plain.pretty_text and 'istill' not in plain.pretty_text
    assert not any(word in plain.pretty_text for word in ('DMKD', 'BCD', 'Pretrained', 'https://'))


@pytest.mark.parametrize('name', [n for n in BASELINES if n in DETECTORS])
def test_full_size_detector_is_consistent(name):
    with torch.device('meta'), torch.no_grad():
        model = build_network(dict(cfg_path=str(FILES[name]), downloads=False)).eval()
        levels = model.extract_feat(torch.zeros(1, 3, 256, 256))
    first = 4 if hasattr(model, 'rpn_head') else 8
    neck = networks(name)['student']['neck']
    channels = neck['out_channels']
    sizes = [256 // (first * 2**i) for i in range(neck['num_outs'])]
    assert [tuple(x.shape) for x in levels] == [(1, channels, size, size) for size in sizes]
    assert channels == (64 if name.endswith('scenescoco') else 256)


@pytest.mark.parametrize('name', [n for n in COCO_2X if n.startswith('dmkd')])
def test_full_size_pair_of_detectors(name):
    # Numbers, not the meta device: mmcv's deformable convolutions have no kernel for it.
    model = load(name).model
    model.architecture.downloads = model.teacher.downloads = False
    model.teacher_ckpt = None
    built = MODELS.build(model)
    assert [probe.error for probe in built.probes] == [None, None]
    levels = 4 if hasattr(built.student, 'rpn_head') else 5
    assert list(built.weights.base) == [f'loss_dmkd_{i}' for i in range(levels)]
    assert {loss.channels for loss in built.distiller.distill_losses.values()} == {(256, 256)}
    assert built.teacher.mode == 'tensor'
    assert (
        type(built.teacher.model.backbone).__name__ == 'ResNeXt' and built.teacher.model.backbone.depth == 101
    )


@pytest.mark.parametrize('name', ['retinanet_r50_8xb2-2x_coco', 'mask-rcnn_r50_8xb2-2x_coco'])
def test_pipelines_run_on_the_layout_mmdet_documents(name, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    box = [10, 20, 30, 40]
    polygon = [10, 20, 40, 20, 40, 60, 10, 60]
    for split in ('train', 'val'):
        assert mmcv.imwrite(image, str(tmp_path / f'{split}2017/a.jpg'))
        annotation = dict(
            id=1, image_id=7, category_id=18, iscrowd=0, bbox=box, area=1200, segmentation=[polygon]
        )
        path = tmp_path / f'annotations/instances_{split}2017.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            json.dumps(
                dict(
                    images=[dict(id=7, file_name='a.jpg', height=90, width=120)],
                    annotations=[annotation],
                    categories=[dict(id=18, name='dog')],
                )
            )
        )
    cfg = load(name)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = f'{tmp_path}/'
        with DATASETS.switch_scope_and_registry('mmdet') as registry:
            item = registry.build(loader.dataset)[0]
        assert tuple(item['inputs'].shape) == (3, 800, 1067)  # 120 x 90, brought to 800 rows
        truth = item['data_samples'].gt_instances
        if loader is cfg.train_dataloader:
            assert truth.bboxes.tensor[0, 1::2].tolist() == pytest.approx([20 * 800 / 90, 60 * 800 / 90])
            assert ('masks' in truth) == name.startswith('mask')
