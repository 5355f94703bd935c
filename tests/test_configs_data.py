"""The data sets that the shipped configs read, laid out as mmseg and mmdet document them."""

import json
from pathlib import Path

import mmcv
import mmseg.registry
import numpy as np
import pytest
from config_zoo import datasets_of, load
from mmengine.config import Config
from mmengine.registry import DATASETS
from toys import ROOT


def _write(path: Path, array: np.ndarray) -> None:
    assert mmcv.imwrite(array, str(path))


@pytest.mark.parametrize('part, train_x, val_x', [('rgb_disparity', True, False), ('disparity', True, True)])
def test_cityscapes_disparity_is_read_where_it_lies(part, train_x, val_x, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for split in ('train', 'val'):
        _write(tmp_path / f'leftImg8bit/{split}/ulm/ulm_0_leftImg8bit.png', image)
        _write(
            tmp_path / f'gtFine/{split}/ulm/ulm_0_gtFine_labelTrainIds.png', np.full((90, 120), 3, np.uint8)
        )
        _write(tmp_path / f'disparity/{split}/ulm/ulm_0_disparity.png', np.full((90, 120), 2561, np.uint16))
    cfg = Config.fromfile(ROOT / f'configs/_base_/datasets/cityscapes_{part}_512x512.py')
    for loader, has_x in ((cfg.train_dataloader, train_x), (cfg.val_dataloader, val_x)):
        loader.dataset.data_root = str(tmp_path)
        with mmseg.registry.DATASETS.switch_scope_and_registry('mmseg') as registry:
            item = registry.build(loader.dataset)[0]
        assert len(item['inputs']) == (4 if has_x else 3)
        assert not has_x or (item['inputs'][3] == 10).all()  # (2561 - 1) / 256
        assert (item['data_samples'].gt_sem_seg.data == 3).all()


@pytest.mark.parametrize(
    'base, crop',
    [
        ('cityscapes_512x1024', (512, 1024)),
        ('cityscapes_512x512', (512, 512)),
        ('voc12_aug_512x512', (512, 512)),
        ('ade20k_512x512', (512, 512)),
        ('coco-stuff10k_512x512', (512, 512)),
    ],
)
def test_pipelines_run_on_the_layout_mmseg_documents(base, crop, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    label = np.full((90, 120), 3, dtype=np.uint8)
    if base.startswith('cityscapes'):
        for split in ('train', 'val'):
            _write(tmp_path / f'leftImg8bit/{split}/ulm/ulm_0_leftImg8bit.png', image)
            _write(tmp_path / f'gtFine/{split}/ulm/ulm_0_gtFine_labelTrainIds.png', label)
    elif base.startswith('ade20k'):
        for split in ('training', 'validation'):
            _write(tmp_path / f'images/{split}/a.jpg', image)
            _write(tmp_path / f'annotations/{split}/a.png', label + 1)  # 0 is 'other', which is ignored
    elif base.startswith('coco-stuff'):
        for split in ('train2014', 'test2014'):
            _write(tmp_path / f'images/{split}/a.jpg', image)
            _write(
                tmp_path / f'annotations/{split}/a_labelTrainIds.png', label + 1
            )  # 0 is 'unlabeled', which is ignored
    else:
        for split in ('train', 'aug', 'val'):
            _write(tmp_path / f'JPEGImages/{split}.jpg', image)
            folder = 'SegmentationClassAug' if split == 'aug' else 'SegmentationClass'
            _write(tmp_path / f'{folder}/{split}.png', label)
            listed = tmp_path / f'ImageSets/Segmentation/{split}.txt'
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.write_text(split)
    cfg = Config.fromfile(ROOT / f'configs/_base_/datasets/{base}.py')
    sizes = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        for dataset in datasets_of(loader):
            dataset['data_root'] = str(tmp_path)
        with mmseg.registry.DATASETS.switch_scope_and_registry('mmseg') as registry:
            built = registry.build(loader.dataset)
        items = [built[i] for i in range(len(built))]
        assert all((i['data_samples'].gt_sem_seg.data == 3).all() for i in items)
        sizes.append([tuple(i['inputs'].shape[-2:]) for i in items])
    train, val = sizes
    assert len(train) == (2 if base.startswith('voc') else 1)
    assert all(h <= crop[0] and w <= crop[1] for h, w in train)
    # VOC is tested at each image's own size; Cityscapes' images are brought to 1024 rows, the others' to 512.
    assert val == [dict(cityscapes=(1024, 1365), voc12=(90, 120)).get(base.split('_')[0], (512, 683))]


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
