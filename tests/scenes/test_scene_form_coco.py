"""The scenes in the form of COCO, read by mmdet's own loader and by COCO's own tools."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from pycocotools.coco import COCO
from toys import ROOT

import kd_methods  # noqa: F401
from kd_methods.scenes.maker import scene_at
from kd_methods.scenes.writer import write_scenes


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('scenes_coco')
    assert write_scenes(out, train=4, val=2, size=64, format='coco', workers=1)
    return out


def test_files_are_named_as_in_coco_2017(root):
    assert sorted(p.name for p in root.iterdir()) == ['annotations', 'scenes.json', 'train2017', 'val2017']
    assert sorted(p.name for p in (root / 'annotations').iterdir()) == [
        'instances_train2017.json',
        'instances_val2017.json',
    ]
    assert sorted(p.name for p in (root / 'val2017').iterdir()) == ['000000000001.jpg', '000000000002.jpg']


def test_cocos_own_reader_finds_what_was_drawn(root):
    coco = COCO(str(root / 'annotations/instances_train2017.json'))
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list('0123456789')
    for index in range(4):
        scene = scene_at(0, 'train', index, size=64)
        things = coco.loadAnns(coco.getAnnIds(imgIds=index + 1))
        assert [t['category_id'] - 1 for t in things] == scene.classes.tolist()
        for thing, box, mask in zip(things, scene.boxes, scene.instances):
            x, y, w, h = thing['bbox']
            assert (x, y, x + w, y + h) == tuple(box)
            assert np.array_equal(coco.annToMask(thing).astype(bool), mask) and thing['area'] == mask.sum()
    assert len(set(coco.anns)) == sum(len(scene_at(0, 'train', i, size=64).classes) for i in range(4))


@pytest.mark.parametrize('config', ['scenes_det', 'scenes_inst'])
def test_mmdet_loads_them_through_the_shipped_config(root, config):
    cfg = Config.fromfile(ROOT / f'configs/_base_/datasets/{config}.py').train_dataloader.dataset
    cfg.data_root = str(root)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(cfg, _scope_='mmdet'))
    assert len(dataset) == 4 and dataset.metainfo['classes'] == tuple('0123456789')
    scene, item = scene_at(0, 'train', 2, size=64), dataset[2]
    found = item['data_samples'].gt_instances
    assert np.array_equal(found.labels.numpy(), scene.classes) and np.array_equal(
        found.bboxes.numpy(), scene.boxes
    )
    if config == 'scenes_inst':
        assert np.array_equal(found.masks.masks.astype(bool), scene.instances)
    image = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1]  # mmcv reads BGR
    assert abs(image.astype(int) - scene.image).mean() < 4  # JPEG


def test_missing_scenes_name_the_command(tmp_path, tools):
    config = str(ROOT / 'configs/baselines/retinanet_r18-w16_scenescoco.py')
    option = f'train_dataloader.dataset.data_root={tmp_path}/scenes_coco'
    with pytest.raises(FileNotFoundError, match='make_scenes.py --out .*scenes_coco --format coco'):
        tools.train([config, '--work-dir', str(tmp_path / 'work'), '--cfg-options', option])


def test_other_folders_get_no_advice_to_write_scenes(tmp_path, tools):
    config = str(ROOT / 'configs/baselines/retinanet_r18-w16_scenescoco.py')
    option = f'train_dataloader.dataset.data_root={tmp_path}/traffic_scenes'
    with pytest.raises(FileNotFoundError, match='docs/datasets.md .COCO 2017. says what to download'):
        tools.train([config, '--work-dir', str(tmp_path / 'work'), '--cfg-options', option])


def test_moved_data_with_the_metric_left_behind_is_refused(root, tmp_path, tools):
    """Else AP would be that of other annotations, and the best checkpoint chosen by it."""
    config = str(ROOT / 'configs/baselines/retinanet_r18-w16_scenescoco.py')
    options = [f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test')]
    with pytest.raises(
        ValueError,
        match=f"val_evaluator.ann_file: 'data/scenes_coco/.*' is not what the data set reads, '{root}/",
    ):
        tools.train([config, '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options])
    torch.save(dict(state_dict={}), tmp_path / 'a.pth')
    with pytest.raises(
        ValueError, match=f'Set both: --cfg-options test_evaluator.ann_file={root}/annotations/instances_val'
    ):
        tools.test(
            [config, str(tmp_path / 'a.pth'), '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options]
        )
