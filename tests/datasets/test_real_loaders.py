"""The scenes in the form of each data set, through the shipped base config of that data set: read, trained
on, evaluated.
"""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from toys import ROOT, tiny_model, tiny_run
from toys_det import tiny_detector

import kd_methods  # noqa: F401
from kd_methods.scenes.maker import scene_at
from kd_methods.scenes.writer import write_scenes

TRAIN, VAL, SIZE, STRIP = 4, 3, 48, 2  # scenes, their side, rows without a label
SUFFIXES = dict(cityscapes='_leftImg8bit.png')

# The form that each base of configs/_base_/datasets/ reads, and the number of classes.
BASES = dict(
    cityscapes_512x512=('cityscapes', 19),
    cityscapes_disparity_512x512=('cityscapes', 19),
    voc12_aug_512x512=('voc', 21),
    camvid_360x360=('camvid', 11),
    nyuv2_480x640=('nyuv2', 40),
    nyuv2_depth_480x640=('nyuv2', 40),
    ade20k_512x512=('ade20k', 150),
)
# Class of each scene label: the background, and the digits 0 to 9.
CLASSES = dict(
    cityscapes=(
        'road',
        'sidewalk',
        'building',
        'wall',
        'fence',
        'pole',
        'traffic light',
        'traffic sign',
        'vegetation',
        'terrain',
        'sky',
    ),
    voc=('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow'),
    camvid=(
        'sky',
        'building',
        'pole',
        'road',
        'pavement',
        'tree',
        'sign symbol',
        'fence',
        'car',
        'pedestrian',
        'bicyclist',
    ),
    nyuv2=(
        'wall',
        'floor',
        'cabinet',
        'bed',
        'chair',
        'sofa',
        'table',
        'window',
        'picture',
        'ceiling',
        'books',
    ),
    nyuv2_13=(
        'wall',
        'floor',
        'furniture',
        'bed',
        'chair',
        'sofa',
        'table',
        'window',
        'picture',
        'ceiling',
        'books',
    ),
    ade20k=(
        'wall',
        'building',
        'sky',
        'floor',
        'tree',
        'ceiling',
        'road',
        'bed ',
        'windowpane',
        'grass',
        'cabinet',
    ),
)
MOVES = ('RandomResize', 'RandomChoice', 'Resize', 'RandomCrop', 'RandomFlip')
pytestmark = pytest.mark.usefixtures('segmentation_scope')


@pytest.fixture(scope='module')
def root_of(tmp_path_factory):
    """`root_of(form)`: a folder with the scenes in that form, written once."""
    folder = tmp_path_factory.mktemp('forms')

    def root(form):
        out = folder / form
        write_scenes(out, train=TRAIN, val=VAL, size=SIZE, format=form, depth=form == 'cityscapes', workers=1)
        return str(out / 'VOC2012' if form == 'voc' else out)

    return root


@pytest.fixture
def config_of(root_of, tmp_path):
    """`config_of(base, form)`: that base as a config names it, reading the form's folder in this process."""

    def config(base, form):
        (tmp_path / 'base.py').write_text(f'_base_ = [{base!r}]')
        cfg = Config.fromfile(tmp_path / 'base.py')
        for loader in loaders(cfg):
            loader.update(num_workers=0, persistent_workers=False)
            for dataset in parts(loader):
                dataset['data_root'] = root_of(form)
        return cfg

    return config


def loaders(cfg):
    return [cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader]


def parts(loader):
    """The data sets that a loader reads: one, or those of a ConcatDataset."""
    return loader.dataset.get('datasets', [loader.dataset])


def shipped(base):
    return str(ROOT / f'configs/_base_/datasets/{base}.py')


def build_still(dataset, scope='mmseg'):
    """A data set whose pipeline leaves images where they are."""
    with DefaultScope.overwrite_default_scope(scope):
        return DATASETS.build(
            dict(dataset, _scope_=scope, pipeline=[t for t in dataset['pipeline'] if t['type'] not in MOVES])
        )


def index_of(path, form):
    """Which scene a file shows."""
    number = int(path.removesuffix(SUFFIXES.get(form, path[-4:]))[-5:])
    return dict(cityscapes=number, camvid=number, nyuv2=(number - 1) // 2).get(form, number - 1)


def check_image(inputs, scene, path):
    """The image is that of the scene; mmcv reads BGR."""
    off = abs(inputs[:3].numpy()[::-1].transpose(1, 2, 0).astype(int) - scene.image)
    assert off.mean() < 4 if path.endswith('.jpg') else off.max() == 0


def check_labels(dataset, form, split, classes):
    """What the loader delivers of each scene is that scene; returns the scenes' indices and the items."""
    table = np.array([dataset.metainfo['classes'].index(name) for name in classes])
    items = [dataset[i] for i in range(len(dataset))]
    indices = [index_of(item['data_samples'].img_path, form) for item in items]
    for index, item in zip(indices, items):
        scene, sample = scene_at(0, split, index, size=SIZE), item['data_samples']
        check_image(item['inputs'], scene, sample.img_path)
        found, expected = sample.gt_sem_seg.data[0].numpy(), table[scene.label]
        if form == 'voc':
            border = found == 255  # also at those of the scene's pixels that VOC leaves out
            assert border.any() == ('Aug' not in sample.seg_map_path) and border.mean() < 0.4
            assert np.array_equal(found[~border], expected[~border])
        else:
            assert np.array_equal(found[:-STRIP], expected[:-STRIP]) and (found[-STRIP:] == 255).all()
    return indices, items


@pytest.mark.parametrize('base', BASES)
def test_segmentation_loaders_deliver_the_scenes(config_of, base):
    form, classes = BASES[base]
    cfg = config_of(shipped(base), form)
    for loader, split, count in zip(loaders(cfg), ('train', 'val', 'val'), (TRAIN, VAL, VAL)):
        seen = []
        for part in parts(loader):
            dataset = build_still(part)
            assert len(dataset.metainfo['classes']) == classes
            seen += check_labels(dataset, form, split, CLASSES[form])[0]
        assert sorted(seen) == list(range(count))


def test_the_13_classes_of_nyuv2(config_of):
    cfg = config_of(shipped('nyuv2_480x640'), 'nyuv2')
    dataset = build_still(
        dict(
            cfg.val_dataloader.dataset,
            type='NYUv2Dataset13',
            data_prefix=dict(img_path='images/test', seg_map_path='labels13/test'),
        )
    )
    assert len(dataset.metainfo['classes']) == 13
    check_labels(dataset, 'nyuv2', 'val', CLASSES['nyuv2_13'])


@pytest.mark.parametrize('base', ['cityscapes_disparity_512x512', 'nyuv2_depth_480x640'])
def test_depth_is_read_beside_the_image(config_of, base):
    form = BASES[base][0]
    dataset = build_still(config_of(shipped(base), form).val_dataloader.dataset)
    for index, item in zip(*check_labels(dataset, form, 'val', CLASSES[form])):
        x, depth = item['inputs'][3].numpy(), scene_at(0, 'val', index, size=SIZE).depth
        expected, nothing = (
            (0.1 * SIZE / depth, 0) if form == 'cityscapes' else (depth, 3)
        )  # pixels of disparity, or metres
        there = x != nothing
        assert 0.9 < there.mean() < 1
        np.testing.assert_allclose(x[there], expected[there], atol=3e-3)


def test_coco_loader_delivers_the_scenes(config_of):
    cfg = config_of('mmdet::_base_/datasets/coco_detection.py', 'coco')
    for loader, split, count in zip(loaders(cfg), ('train', 'val', 'val'), (TRAIN, VAL, VAL)):
        dataset = build_still(dict(loader.dataset, metainfo=dict(classes=tuple('0123456789'))), 'mmdet')
        assert len(dataset) == count
        for i in range(count):
            item = dataset[i]
            sample = item['data_samples']
            scene = scene_at(0, split, index_of(sample.img_path, 'coco'), size=SIZE)
            check_image(item['inputs'], scene, sample.img_path)
            assert np.array_equal(sample.gt_instances.labels.numpy(), scene.classes)
            assert np.array_equal(sample.gt_instances.bboxes.numpy(), scene.boxes)


def train_once(cfg, work_dir, **keys):
    """One iteration and one evaluation; returns the runner, its loss and its metrics."""
    for loader in loaders(cfg):
        loader.batch_size = min(loader.batch_size, 2)
        for dataset in parts(loader):
            for transform in dataset.pipeline:  # up to 2048 pixels
                transform.update(
                    {k: v for k, v in dict(scale=(64, 64), crop_size=(48, 48)).items() if k in transform}
                )
    run = {**tiny_run(work_dir, iters=1), **cfg.to_dict(), **keys}
    run['default_hooks'].pop('visualization')
    runner = Runner.from_cfg(
        Config(
            dict(
                run,
                work_dir=str(work_dir),
                experiment_name=work_dir.name,
                visualizer=dict(type='Visualizer', name=work_dir.name),
            )
        )
    )
    runner.train()
    scalars = runner.message_hub.log_scalars
    return (
        runner,
        scalars['train/loss'].current(),
        {
            name.removeprefix('val/'): scalar.current()
            for name, scalar in scalars.items()
            if name.startswith('val/')
        },
    )


@pytest.mark.parametrize('base', BASES)
def test_segmentation_trains_and_evaluates(config_of, base, tmp_path):
    form, classes = BASES[base]
    model = tiny_model(4, norm='BN')
    for head in ('decode_head', 'auxiliary_head'):
        model[head]['num_classes'] = classes
    model['data_preprocessor']['size'] = (48, 48)
    if 'disparity' in base or 'depth' in base:
        model['data_preprocessor'].update(type='RGBXDataPreProcessor', x_mean=[1.0], x_std=[1.0])
        model['backbone']['in_channels'] = 4
    runner, loss, metrics = train_once(config_of(shipped(base), form), tmp_path / base, model=model)
    assert np.isfinite(loss) and loss > 0
    assert len(runner.train_dataloader.dataset) == TRAIN and len(runner.val_dataloader.dataset) == VAL
    assert len(runner.train_dataloader.dataset.metainfo['classes']) == classes
    assert 0 <= metrics['mIoU'] <= 100


def test_coco_trains_and_evaluates(config_of, root_of, tmp_path):
    cfg = config_of('mmdet::_base_/datasets/coco_detection.py', 'coco')
    for loader in loaders(cfg):
        loader.dataset.metainfo = dict(classes=tuple('0123456789'))
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = f'{root_of("coco")}/annotations/instances_val2017.json'
    model = tiny_detector('retinanet', classes=10)
    model['test_cfg']['score_thr'] = 0.0  # nothing is found yet
    runner, loss, metrics = train_once(cfg, tmp_path / 'coco', model=model, default_scope='mmdet')
    assert np.isfinite(loss) and loss > 0
    assert len(runner.train_dataloader.dataset) == TRAIN and len(runner.val_dataloader.dataset) == VAL
    assert 0 <= metrics['coco/bbox_mAP'] <= 1
