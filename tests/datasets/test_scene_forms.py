"""The scenes in the form of COCO, read by mmdet's own loader and by COCO's own tools."""
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from toys import ROOT

import kd_methods  # noqa: F401
from kd_methods.datasets import scene_writer
from kd_methods.datasets.scene_forms import run_lengths
from kd_methods.datasets.scene_maker import scene_at
from kd_methods.datasets.scene_writer import write_scenes


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('scenes_coco')
    assert write_scenes(out, train=4, val=2, size=64, format='coco', workers=1)
    return out


def test_files_are_named_as_in_coco_2017(root):
    assert sorted(p.name for p in root.iterdir()) == ['annotations', 'scenes.json', 'train2017', 'val2017']
    assert sorted(p.name for p in (root / 'annotations').iterdir()) == ['instances_train2017.json', 'instances_val2017.json']
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
    assert np.array_equal(found.labels.numpy(), scene.classes) and np.array_equal(found.bboxes.numpy(), scene.boxes)
    if config == 'scenes_inst':
        assert np.array_equal(found.masks.masks.astype(bool), scene.instances)
    image = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1]  # mmcv reads BGR
    assert abs(image.astype(int) - scene.image).mean() < 4  # JPEG


@pytest.mark.parametrize('rows', [['...', '...'], ['###', '###'], ['#..', '..#'], ['.#.', '##.']])
def test_run_lengths_are_cocos(rows):
    mask = np.array([[c == '#' for c in row] for row in rows])
    found = run_lengths(mask)
    rle = coco_mask.frPyObjects(found, *mask.shape)
    assert np.array_equal(coco_mask.decode(rle).astype(bool), mask)
    assert sum(found['counts']) == mask.size and found['size'] == list(mask.shape)


def test_workers_write_the_same_bytes(root, tmp_path):
    write_scenes(tmp_path, train=4, val=2, size=64, format='coco', workers=2)
    for path in sorted(p for p in root.rglob('*') if p.is_file()):
        assert (tmp_path / path.relative_to(root)).read_bytes() == path.read_bytes(), path


def test_written_once_and_not_over_another_form(root, tmp_path):
    assert write_scenes(root, train=4, val=2, size=64, format='coco', workers=1) is False
    with pytest.raises(ValueError, match='holds other scenes .*format coco there, None asked'):
        write_scenes(root, train=4, val=2, size=64, workers=1)
    with pytest.raises(ValueError, match="got 'voc12', expected one of"):
        write_scenes(tmp_path / 'a', format='voc12')
    with pytest.raises(ValueError, match="the form 'coco' has no place for depth maps"):
        write_scenes(tmp_path / 'b', format='coco', depth=True)
    assert json.loads((root / 'scenes.json').read_text())['format'] == 'coco'


@pytest.mark.parametrize('again', ['coco', 'scenes'])
def test_an_unfinished_folder_is_written_anew(tmp_path, monkeypatch, again):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scene_writer, 'scene_at', stop)
        with pytest.raises(KeyboardInterrupt):
            write_scenes(tmp_path, train=1, val=1, size=48, format='coco', workers=1)
    (tmp_path / 'train2017/junk.jpg').write_bytes(b'half')
    assert write_scenes(tmp_path, train=1, val=1, size=48, format=again, workers=1)
    assert not list(tmp_path.rglob('junk.jpg')) and not list(tmp_path.glob('*.part'))
    assert (tmp_path / 'train2017').exists() == (again == 'coco')


def test_an_interrupted_overwrite_can_be_repeated(tmp_path, monkeypatch):
    write_scenes(tmp_path, train=1, val=1, size=48, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(scene_writer.shutil, 'rmtree', lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_scenes(tmp_path, train=1, val=1, size=48, format='coco', workers=1, overwrite=True)
    assert write_scenes(tmp_path, train=1, val=1, size=48, format='coco', workers=1)
    assert not (tmp_path / 'train').exists()


def test_a_real_coco_is_not_taken_for_unfinished_scenes(tmp_path):
    """It has folders of the same names."""
    for folder in ('train2017', 'val2017', 'annotations'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'train2017/000000000009.jpg').write_bytes(b'a photograph')
    for overwrite in (False, True):
        with pytest.raises(ValueError, match='is not empty and holds no scenes.json'):
            write_scenes(tmp_path, train=1, val=1, size=48, format='coco', workers=1, overwrite=overwrite)
    assert (tmp_path / 'train2017/000000000009.jpg').read_bytes() == b'a photograph'


@pytest.mark.parametrize('forms', [('scenes', 'coco'), ('coco', 'scenes')])
def test_overwriting_leaves_nothing_of_the_other_form(tmp_path, forms):
    for form in forms:
        write_scenes(tmp_path, train=1, val=1, size=48, format=form, workers=1, overwrite=True)
    expected = dict(coco=['annotations', 'scenes.json', 'train2017', 'val2017'], scenes=['scenes.json', 'train', 'val'])
    assert sorted(p.name for p in tmp_path.iterdir()) == expected[forms[1]]


def test_missing_scenes_name_the_command(tmp_path, tools):
    config = str(ROOT / 'configs/baselines/retinanet_r18-w16_scenescoco.py')
    option = f'train_dataloader.dataset.data_root={tmp_path}/scenes_coco'
    with pytest.raises(FileNotFoundError, match='make_scenes.py --out .*scenes_coco --format coco'):
        tools.train([config, '--work-dir', str(tmp_path / 'work'), '--cfg-options', option])


def test_other_folders_get_no_advice_to_write_scenes(tmp_path, tools):
    config = str(ROOT / 'configs/baselines/retinanet_r18-w16_scenescoco.py')
    option = f'train_dataloader.dataset.data_root={tmp_path}/traffic_scenes'
    with pytest.raises(FileNotFoundError, match='data/README.md says how to prepare'):
        tools.train([config, '--work-dir', str(tmp_path / 'work'), '--cfg-options', option])


def test_moved_data_with_the_metric_left_behind_is_refused(root, tmp_path, tools):
    """Else AP would be that of other annotations, and the best checkpoint chosen by it."""
    config = str(ROOT / 'configs/baselines/retinanet_r18-w16_scenescoco.py')
    options = [f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test')]
    with pytest.raises(ValueError, match=f"val_evaluator.ann_file: 'data/scenes_coco/.*' is not what the data set reads, '{root}/"):
        tools.train([config, '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options])
    torch.save(dict(state_dict={}), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=f'Set both: --cfg-options test_evaluator.ann_file={root}/annotations/instances_val'):
        tools.test([config, str(tmp_path / 'a.pth'), '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options])
