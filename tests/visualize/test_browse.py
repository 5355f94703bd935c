"""`tools/data/browse.py`: what is on a contact sheet, and what it says of mistakes."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image
from toys import ROOT, SIZE, load_tool, tiny_model, tiny_run, write_config

import kd_methods  # noqa: F401
from kd_methods.scenes.dataset import SceneDataset
from kd_methods.visualize import draw
from kd_methods.visualize.browse import contact_sheet

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
PACK = dict(type='PackSegInputs')
PALETTE = SceneDataset.METAINFO['palette']


@pytest.fixture
def cfg(tiny_scenes):
    return Config(dict(tiny_run(tiny_scenes), model=tiny_model()))


@pytest.fixture(scope='module')
def rgbd(tmp_path_factory):
    from kd_methods.scenes.writer import write_scenes

    out = tmp_path_factory.mktemp('data') / 'rgbd'
    write_scenes(out, train=3, val=1, size=SIZE, depth=True, workers=1)
    return out


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    from kd_methods.scenes.writer import write_scenes

    out = tmp_path_factory.mktemp('data') / 'coco'
    write_scenes(out, train=4, val=4, size=SIZE, format='coco', workers=1)
    return out


def row(page, label, number=0):
    """The panels of a row, without the empty ones behind them."""
    rows = [r for r in page.rows if r.label == label]
    return [panel for panel in rows[number].panels if panel is not None]


def pixels_of(page):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(draw.draw(page))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def has(pixels, colour):
    return (pixels == np.array(colour)).all(-1).any()


def opened(*parts):
    return np.asarray(Image.open(Path(*map(str, parts))))


def test_images_and_label_maps(cfg, tiny_scenes):
    """Without augmentation, what is in the files: red, green, blue, and the data set's colours."""
    page = contact_sheet(cfg, 'val', count=5, columns=3)
    assert (
        [r.label for r in page.rows] == ['image', 'labels'] * 2
        and len(page.titles) == 3
        and page.size == (SIZE, SIZE)
    )
    assert [len(row(page, 'image', i)) for i in (0, 1)] == [3, 2]
    present = set()
    images, label_maps = ([*row(page, label), *row(page, label, 1)] for label in ('image', 'labels'))
    for i, (image, labels) in enumerate(zip(images, label_maps)):
        assert image.title == f'{i:05d}'
        truth = opened(tiny_scenes, 'val/labels', f'{i:05d}.png')
        np.testing.assert_array_equal(image.array, opened(tiny_scenes, 'val/images', f'{i:05d}.png'))
        np.testing.assert_array_equal(labels.array, np.array(PALETTE)[truth])
        present |= set(truth.ravel().tolist())
    assert page.legend == sorted(present)


def test_ignored_pixels_are_hatched(cfg, tiny_scenes, tmp_path):
    scenes = Path(shutil.copytree(tiny_scenes, tmp_path / 'scenes'))
    path = scenes / 'val/labels/00000.png'
    label = opened(path).copy()
    label[10:40, 5:50] = 255
    Image.fromarray(label).save(path)
    cfg.val_dataloader.dataset.data_root = str(scenes)
    page = contact_sheet(cfg, 'val', count=5)
    hatched = row(page, 'labels')[0].array[10:40, 5:50]
    assert set(hatched.ravel().tolist()) == {165, 235} and 0.3 < (hatched == 165).mean() < 0.7
    np.testing.assert_array_equal(
        row(page, 'labels')[0].array[label != 255], np.array(PALETTE)[label[label != 255]]
    )
    assert page.legend[-1] == 255
    without = copy.copy(page)
    without.legend = page.legend[:-1]
    assert not np.array_equal(pixels_of(page), pixels_of(without))


def one_scene_many_times(cfg, times=16):
    inner = cfg.train_dataloader.dataset
    inner.indices = 1
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', dataset=inner, times=times)
    return cfg


def test_each_sample_has_a_draw_of_its_own(cfg, tiny_scenes):
    """The flip of a scene that comes again and again differs; labels go with the image."""
    page = contact_sheet(one_scene_many_times(cfg), count=16, columns=16)
    image, label = (opened(tiny_scenes, f'train/{kind}/00000.png') for kind in ('images', 'labels'))
    flipped = [not np.array_equal(panel.array, image) for panel in row(page, 'image')]
    assert 2 < sum(flipped) < 14
    for is_flipped, shown, labels in zip(flipped, row(page, 'image'), row(page, 'labels')):
        side = -1 if is_flipped else 1
        np.testing.assert_array_equal(shown.array, image[:, ::side])
        np.testing.assert_array_equal(labels.array, np.array(PALETTE)[label[:, ::side]])


def test_the_seed_decides(cfg):
    def shown(seed):
        page = contact_sheet(copy.deepcopy(cfg), count=6, columns=6, seed=seed)
        return [panel.title for panel in row(page, 'image')], np.stack(
            [panel.array for panel in row(page, 'image')]
        )

    (titles, arrays), (again_titles, again), (other_titles, _) = (shown(seed) for seed in (0, 0, 1))
    assert titles == again_titles and np.array_equal(arrays, again) and titles != other_titles
    assert titles == sorted(titles) and len(set(titles)) == 6


def test_the_file(cfg, tiny_scenes, tmp_path, monkeypatch, capsys):
    """It lies where it is said to, is the same for the same seed, and shows the labels' colours."""
    monkeypatch.chdir(tmp_path)
    config = str(write_config(tmp_path / 'mine.py', dict(cfg)))
    tool = load_tool('data/browse')
    path = tool.main([config, '--count', '2', '--columns', '2'])
    assert path == Path('work_dirs/mine/browse_train.png') and capsys.readouterr().out.strip() == str(path)
    pixels = opened(path)[..., :3]
    titles = [panel.title for panel in row(contact_sheet(Config.fromfile(config), count=2), 'image')]
    for label in np.unique([opened(tiny_scenes, f'train/labels/{title}.png') for title in titles]):
        assert has(pixels, PALETTE[label])
    assert tool.main([config, '--count', '2', '--columns', '2', '--out', 'new/sheet.png']) == Path(
        'new/sheet.png'
    )
    assert np.array_equal(opened('new/sheet.png')[..., :3], pixels)
    assert tool.main([config, '--split', 'val', '--count', '1']) == Path('work_dirs/mine/browse_val.png')
    assert sorted(p.name for p in tmp_path.rglob('*.png')) == [
        'browse_train.png',
        'browse_val.png',
        'sheet.png',
    ]


def test_x_with_its_holes(rgbd):
    """Of a distillation config whose networks are not built; X in its own unit, not measured where the file
    has 0.
    """
    cfg = Config.fromfile(ROOT / 'configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py')
    cfg.train_dataloader.dataset.data_root = str(rgbd)
    page = contact_sheet(cfg, count=3, columns=2)
    assert [r.label for r in page.rows] == ['image', 'labels', 'X'] * 2
    for i, panel in enumerate(row(page, 'X') + row(page, 'X', 1)):
        depth = opened(rgbd, 'train/depths', f'{i:05d}.png').astype(np.float32)
        np.testing.assert_array_equal(np.isnan(panel.array), depth == 0)
        np.testing.assert_allclose(
            panel.array[depth > 0], np.minimum(1000 / depth[depth > 0], 0.6), rtol=1e-5
        )
    assert len({r.scale for r in page.rows if r.label == 'X'}) == 1 and 'not measured' in page.bar
    pixels = pixels_of(page)
    assert has(pixels, [int(draw.HOLE[i : i + 2], 16) for i in (1, 3, 5)]) and has(
        pixels, [68, 1, 84]
    )  # of viridis
    cfg.val_dataloader.dataset.data_root = str(rgbd)
    page = contact_sheet(cfg, 'val', count=1)
    assert [r.label for r in page.rows] == ['image', 'labels'] and not page.bar, (
        'the student is validated without X'
    )


def test_no_network_is_built(rgbd, monkeypatch):
    cfg = Config.fromfile(ROOT / 'configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py')
    cfg.train_dataloader.dataset.data_root = str(rgbd)
    monkeypatch.setattr(MODELS, 'build', lambda *args, **kwargs: pytest.fail('a network is built'))
    assert contact_sheet(cfg, count=1)


def test_x_of_three_channels_is_a_picture(cfg, rgbd):
    """Normals and the like, here the image itself; what was padded is grey."""
    cfg.train_dataloader.dataset = dict(
        type='SceneDataset',
        data_root=str(rgbd),
        indices=1,
        data_prefix=dict(img_path='train/images', seg_map_path='train/labels', x_path='train/images'),
        pipeline=[
            LOAD[0],
            dict(type='LoadXFromFile', channels=3, invalid=None),
            LOAD[1],
            dict(type='PadRGBX', size=(SIZE + 16, SIZE)),
            dict(type='PackRGBXInputs', fill=7.0),
        ],
    )
    page = contact_sheet(cfg, count=1)
    (panel,) = row(page, 'X')
    image = opened(rgbd, 'train/images/00000.png').astype(float)
    assert (
        panel.array.shape == (SIZE, SIZE + 16, 3)
        and (panel.array[:, SIZE:] == [0xD1, 0xD5, 0xDB]).all()
        and not page.bar
    )
    for i in range(3):
        low, high = image[..., i].min(), np.quantile(image[..., i], 0.99)
        np.testing.assert_allclose(
            panel.array[:, :SIZE, i], (255 * (image[..., i] - low) / (high - low)).clip(0, 255), atol=1
        )


@pytest.mark.parametrize(
    'steps',
    [
        [dict(type='mmcv.Normalize', mean=[120.0, 110, 100], std=[60.0, 50, 55])],
        [dict(type='mmcv.Normalize', mean=[120.0, 110, 100], std=[60.0, 50, 55], to_rgb=False)],
    ],
    ids=['to-rgb', 'bgr'],
)
def test_normalised_images_are_shown_as_they_were(cfg, tiny_scenes, steps):
    cfg.val_dataloader.dataset.pipeline = [*LOAD, *steps, PACK]
    panel = row(contact_sheet(cfg, 'val', count=1), 'image')[0]
    assert abs(panel.array.astype(int) - opened(tiny_scenes, f'val/images/{panel.title}.png')).max() <= 1


def test_grey_images(cfg):
    cfg.val_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile', color_type='grayscale'),
        LOAD[1],
        PACK,
    ]
    array = row(contact_sheet(cfg, 'val', count=1), 'image')[0].array
    assert array.shape == (SIZE, SIZE, 3) and (array == array[..., :1]).all() and array.std() > 0


def test_samples_of_several_sizes_and_labels_of_files_size(cfg, tiny_scenes):
    """One scale for all; where a test pipeline resizes before it loads labels, they cover the image
    nevertheless.
    """
    small = dict(
        cfg.val_dataloader.dataset, pipeline=[LOAD[0], dict(type='Resize', scale=(32, 32)), LOAD[1], PACK]
    )
    padded = dict(
        small, pipeline=[*small['pipeline'][:2], dict(type='mmcv.Pad', size=(48, 40)), LOAD[1], PACK]
    )
    for inner, size in ((small, (32, 32)), (padded, (40, 48))):
        cfg.val_dataloader.dataset = copy.deepcopy(inner)
        page = contact_sheet(cfg, 'val', count=1)
        image, labels = row(page, 'image')[0], row(page, 'labels')[0]
        assert (
            page.size == image.array.shape[:2] == size
            and labels.array.shape[:2] == (SIZE, SIZE)
            and labels.cover == (32, 32)
        )
    cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.train_dataloader.dataset, padded])
    page = contact_sheet(cfg, 'val', count=21, columns=21)
    assert page.size == (SIZE, SIZE) and {panel.cover for panel in row(page, 'image')} == {
        (SIZE, SIZE),
        (40, 48),
    }


def detection(coco, split, **keys):
    """A config of boxes and masks whose scenes are resized from 64 x 64 to 96 x 96 at test."""
    cfg = Config.fromfile(ROOT / 'configs/baselines/mask-rcnn_r18-w16_scenescoco.py')
    cfg[f'{split}_dataloader'].dataset.update(data_root=str(coco), **keys)
    return cfg


def annotations(coco, split):
    return json.loads((coco / f'annotations/instances_{split}2017.json').read_text())


@pytest.mark.parametrize('split, factor', [('train', 1.0), ('val', 96 / SIZE), ('test', 96 / SIZE)])
def test_boxes_and_masks_lie_on_their_image(coco, split, factor):
    page = contact_sheet(detection(coco, split), split, count=4)
    content = annotations(coco, 'train' if split == 'train' else 'val')
    assert [r.label for r in page.rows] == ['image, objects'] and page.size == (round(factor * SIZE),) * 2
    assert page.classes.name(3) == '3' and page.legend == sorted(
        {a['category_id'] - 1 for a in content['annotations']}
    )
    for i, panel in enumerate(row(page, 'image, objects')):
        objects = [a for a in content['annotations'] if a['image_id'] == content['images'][i]['id']]
        assert [box.label for box in panel.boxes] == [a['category_id'] - 1 for a in objects]
        for box, (x, y, w, h) in zip(panel.boxes, (a['bbox'] for a in objects)):
            np.testing.assert_allclose(box.corners, factor * np.array([x, y, x + w, y + h]), rtol=1e-5)
            assert box.mask.shape == (SIZE, SIZE), 'drawn over the whole image'
            ys, xs = np.nonzero(box.mask)
            assert x <= xs.min() and xs.max() < x + w and y <= ys.min() and ys.max() < y + h
    pixels = pixels_of(page)
    assert all(has(pixels, page.classes.colour(label)) for label in page.legend)


def test_masks_of_a_padded_image(coco):
    """Mask and box have the same place where a test pipeline pads before it loads them."""
    pipeline = [
        LOAD[0],
        dict(type='Resize', scale=(96, 96), keep_ratio=True),
        dict(type='Pad', size=(144, 96)),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs'),
    ]
    page = contact_sheet(detection(coco, 'val', pipeline=pipeline), 'val', count=1)
    panel = row(page, 'image, objects')[0]
    assert page.size == (96, 144)
    for box in panel.boxes:
        assert box.mask.shape == (SIZE, SIZE * 1.5)
        assert np.nonzero(box.mask)[1].max() * 1.5 <= box.corners[2] + 1.5


def test_crowds_are_told_from_objects(coco, tmp_path):
    copied = Path(shutil.copytree(coco, tmp_path / 'coco'))
    content = annotations(copied, 'train')
    content['annotations'][0]['iscrowd'] = 1
    (copied / 'annotations/instances_train2017.json').write_text(json.dumps(content))
    page = contact_sheet(detection(copied, 'train'), count=4)
    boxes = [box for panel in row(page, 'image, objects') for box in panel.boxes]
    assert [box.label for box in boxes if box.ignored] == [content['annotations'][0]['category_id'] - 1]
    assert len(boxes) == len(content['annotations'])


def test_mixed_images(coco):
    """A wrapper that puts four images into one, with the pipeline outside."""
    cfg = detection(coco, 'train')
    inner = cfg.train_dataloader.dataset.copy()
    inner.pipeline = [LOAD[0], dict(type='LoadAnnotations', with_bbox=True)]
    cfg.train_dataloader.dataset = dict(
        type='MultiImageMixDataset',
        dataset=inner,
        pipeline=[
            dict(type='Mosaic', img_scale=(SIZE, SIZE)),
            dict(type='Resize', scale=(96, 96)),
            dict(type='PackDetInputs'),
        ],
    )
    page = contact_sheet(cfg, count=2)
    again = contact_sheet(cfg, count=2)
    assert page.size == (96, 96) and len(row(page, 'image, objects')) == 2
    for panel, other in zip(row(page, 'image, objects'), row(again, 'image, objects')):
        np.testing.assert_array_equal(panel.array, other.array)
        corners = np.array([box.corners for box in panel.boxes])
        assert len(corners) and corners.min() >= 0 and corners.max() <= 96


def test_images_without_labels(cfg):
    cfg.test_dataloader.dataset.pipeline = [LOAD[0], PACK]
    assert [r.label for r in contact_sheet(cfg, 'test', count=2).rows] == ['image']


def test_of_a_list_of_loaders_the_first_is_drawn(cfg):
    alone = contact_sheet(cfg, 'val', count=2)
    second = dict(cfg.val_dataloader, dataset=dict(cfg.val_dataloader.dataset, data_root='nowhere'))
    cfg.val_dataloader = [cfg.val_dataloader, second]
    page = contact_sheet(cfg, 'val', count=2)
    assert page.heading == alone.heading
    np.testing.assert_array_equal(pixels_of(page), pixels_of(alone))


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    'argv, error, text',
    [
        (['--count', '17'], ValueError, r'--count 17: the train data set \(SceneDataset\) has 16 samples'),
        (['--count', '0'], ValueError, '--count 0: expected 1 or more'),
        (['--columns', '0'], ValueError, '--columns 0: expected 1 or more'),
        (['--seed', '-1'], ValueError, '--seed -1: expected 0 or more'),
        (['--out', 'sheet.jpg'], ValueError, '--out sheet.jpg: expected the name of a PNG file'),
        (['--out', '.'], ValueError, '--out .: expected the name of a PNG file'),
        (
            ['--split', 'test', '--cfg-options', 'test_dataloader=None'],
            ValueError,
            '--split test: CONFIG has no test_dataloader.dataset. It has data for train, val',
        ),
        (
            ['--cfg-options', 'train_dataloader.dataset.data_root=nowhere'],
            FileNotFoundError,
            'make_scenes.py --out nowhere',
        ),
        (
            ['--cfg-options', 'train_dataloader.dataset.pipeline.2.type=RandomFlop'],
            ValueError,
            'train_dataloader.dataset: SceneDataset cannot be built: KeyError: .*RandomFlop',
        ),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(cfg, tmp_path, monkeypatch, argv, error, text):
    config = str(write_config(tmp_path / 'mine.py', dict(cfg)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        load_tool('data/browse').main([config, '--count', '2', *argv])
    assert [path.name for path in tmp_path.iterdir()] == ['mine.py']


def test_an_image_that_cannot_be_read_is_named(cfg, tiny_scenes, tmp_path):
    scenes = Path(shutil.copytree(tiny_scenes, tmp_path / 'scenes'))
    (scenes / 'val/images/00003.png').write_bytes(b'\x89PNG')
    cfg.val_dataloader.dataset.data_root = str(scenes)
    with pytest.raises(
        ValueError,
        match=r'val_dataloader.dataset: sample 3 cannot be read \(.*val/images/00003.png\).*check.py',
    ):
        contact_sheet(cfg, 'val', count=5)


def test_inputs_that_are_no_image_are_refused(cfg):
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    cfg.val_dataloader.dataset.pipeline = [*LOAD, dict(type='TestTimeAug', transforms=[flips, [PACK]])]
    with pytest.raises(
        ValueError, match='val_dataloader.dataset: the pipeline gives inputs of list, expected an image'
    ):
        contact_sheet(cfg, 'val', count=1)
