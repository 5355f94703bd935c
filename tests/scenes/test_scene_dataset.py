import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

import kd_methods  # noqa: F401
from kd_methods.scenes.dataset import SceneDataset
from kd_methods.scenes.maker import scene_at
from kd_methods.scenes.writer import write_scenes

PIPELINE = [dict(type=name) for name in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('scenes')
    write_scenes(out, train=3, val=2, size=48, workers=1)
    return out


def build(root, split='train', **kwargs):
    cfg = dict(
        type='SceneDataset',
        data_root=str(root),
        pipeline=PIPELINE,
        _scope_='mmseg',
        data_prefix=dict(img_path=f'{split}/images', seg_map_path=f'{split}/labels'),
    )
    return DATASETS.build({**cfg, **kwargs})


def test_loads_what_the_generator_drew(root):
    dataset = build(root)
    assert len(dataset) == 3 and len(build(root, 'val')) == 2
    scene = scene_at(0, 'train', 1, size=48)
    item = dataset[1]
    image = item['inputs'].permute(1, 2, 0).numpy()
    assert np.array_equal(image[..., ::-1], scene.image)  # mmcv reads BGR
    label = item['data_samples'].gt_sem_seg.data
    assert label.shape == (1, 48, 48)
    assert np.array_equal(label[0].numpy(), scene.label)


def test_depth_is_written_with_holes_and_read_beside_the_image(tmp_path):
    write_scenes(tmp_path, train=2, val=1, size=48, camouflage=0.5, depth=True, workers=1)
    assert write_scenes(tmp_path, train=2, val=1, size=48, camouflage=0.5, depth=True, workers=1) is False
    scene = scene_at(0, 'train', 1, size=48, camouflage=0.5)
    pipeline = [
        PIPELINE[0],
        dict(type='LoadXFromFile', scale=1e-3),
        PIPELINE[1],
        dict(type='PackRGBXInputs', fill=-1.0),
    ]
    prefix = dict(img_path='train/images', seg_map_path='train/labels', x_path='train/depths')
    inputs = build(tmp_path, data_prefix=prefix, pipeline=pipeline)[1]['inputs'].numpy()
    assert np.array_equal(inputs[2::-1].transpose(1, 2, 0), scene.image)
    holes = inputs[3] == -1
    assert 0.005 < holes.mean() < 0.05
    np.testing.assert_allclose(inputs[3][~holes], scene.depth[~holes], atol=6e-4)  # millimetres


def test_depth_that_was_not_written_names_the_command(tmp_path):
    root = tmp_path / 'scenes_rgbd'
    write_scenes(root, train=1, val=1, size=40, workers=1)
    prefix = dict(img_path='train/images', seg_map_path='train/labels', x_path='train/depths')
    with pytest.raises(
        FileNotFoundError, match='data_prefix.x_path.*make_scenes.py --out .*rgbd --depth --camouflage 0.5'
    ):
        build(root, data_prefix=prefix)


def test_classes_and_palette():
    meta = SceneDataset.METAINFO
    assert meta['classes'] == ('background', *map(str, range(10)))
    assert len(meta['palette']) == 11 and len({tuple(c) for c in meta['palette']}) == 11


def test_ignored_pixels_stay_ignored(tmp_path):
    write_scenes(tmp_path, train=1, val=1, size=40, workers=1)
    path = tmp_path / 'val/labels/00000.png'
    label = np.array(Image.open(path))
    label[:5] = 255
    Image.fromarray(label).save(path)
    loaded = build(tmp_path, 'val')[0]['data_samples'].gt_sem_seg.data[0].numpy()
    assert (loaded[:5] == 255).all() and np.array_equal(loaded, label)


@pytest.mark.parametrize('missing', ['images', 'labels'])
def test_missing_directory_names_the_command(tmp_path, missing):
    for kind in {'images', 'labels'} - {missing}:
        (tmp_path / 'train' / kind).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='make_scenes.py --out') as error:
        build(tmp_path)
    assert str(tmp_path) in str(error.value) and missing in str(error.value)


@pytest.mark.parametrize('config', ['pspnet_r18_scenes', 'pspnet_r18-w16_scenes'])
def test_baseline_config_reads_scenes_and_takes_a_step(root, config):
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import MODELS

    cfg = Config.fromfile(f'configs/baselines/{config}.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(root)
    train = DATASETS.build({**cfg.train_dataloader.dataset, '_scope_': 'mmseg'})
    assert len(DATASETS.build({**cfg.val_dataloader.dataset, '_scope_': 'mmseg'})) == 2
    model = MODELS.build({**cfg.model, '_scope_': 'mmseg'})
    model.init_weights()
    assert model.decode_head.num_classes == len(train.metainfo['classes'])
    data = model.data_preprocessor(pseudo_collate([train[0], train[1]]), True)
    losses = model(**data, mode='loss')
    losses['decode.loss_ce'].backward()
    assert torch.isfinite(losses['decode.loss_ce'])
    assert model.backbone.stem[0].weight.grad.abs().sum() > 0


def test_schedules_end_with_their_training():
    for name in ('pspnet_r18_scenes', 'pspnet_r18-w16_scenes'):
        cfg = Config.fromfile(f'configs/baselines/{name}.py')
        up, down = cfg.param_scheduler
        assert up.begin == 0 and up.end == down.begin
        assert down.end == cfg.train_cfg.max_iters == down.begin + down.T_max
        assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0


def test_schedulers_can_be_loaded_safely(tmp_path):
    import torch
    from mmengine.registry import PARAM_SCHEDULERS

    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1)
    cfg = Config.fromfile('configs/baselines/pspnet_r18_scenes.py')
    for part in cfg.param_scheduler:
        built = PARAM_SCHEDULERS.build(part, default_args=dict(optimizer=optimizer))
        torch.save(built.state_dict(), tmp_path / 'state.pth')
        loaded = torch.load(tmp_path / 'state.pth', weights_only=True)
        assert loaded['end'] == part.end
