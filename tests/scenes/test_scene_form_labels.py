"""Labels and lists of the scenes in the forms of Pascal VOC, CamVid, NYUv2 and ADE20K."""

import numpy as np
import pytest
from PIL import Image

from kd_methods.datasets.nyuv2 import CLASSES, MEMBERS_OF_13
from kd_methods.datasets.palettes import voc_palette
from kd_methods.scenes.forms.base import unmeasured
from kd_methods.scenes.forms.voc import _outlines
from kd_methods.scenes.maker import scene_at
from kd_methods.scenes.writer import write_scenes

SIZE, STRIP = 64, 2  # rows without a label


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    """Folder of each form."""
    folder = tmp_path_factory.mktemp('forms')
    for form in ('voc', 'camvid', 'nyuv2', 'ade20k'):
        write_scenes(folder / form, train=5, val=2, size=SIZE, format=form, workers=1)
    return folder


def scene(split, index):
    return scene_at(0, split, index, size=SIZE)


def read(path):
    return np.array(Image.open(path))


def lines(path):
    return path.read_text().splitlines()


def test_voc_palette():
    """The first colours of the VOC devkit, and the cream of its border."""
    palette = voc_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[:9].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert palette[255].tolist() == [224, 224, 192] and np.array_equal(voc_palette(21), palette[:21])


def test_voc_lists(roots):
    lists = {path.stem: lines(path) for path in (roots / 'voc/VOC2012/ImageSets/Segmentation').iterdir()}
    assert lists == dict(
        train=['2008_000001', '2008_000003', '2008_000005'],
        aug=['2008_000002', '2008_000004'],
        val=['2009_000001', '2009_000002'],
        trainval=[*lists['train'], *lists['val']],
        trainaug=[f'2008_{number:06d}' for number in range(1, 6)],
    )
    folder = roots / 'voc/VOC2012'
    names = {
        kind: sorted(path.stem for path in (folder / kind).iterdir())
        for kind in ('JPEGImages', 'SegmentationClass', 'SegmentationObject', 'SegmentationClassAug')
    }
    assert names == dict(
        JPEGImages=sorted([*lists['trainval'], *lists['aug']]),
        SegmentationClass=sorted(lists['trainval']),
        SegmentationObject=sorted(lists['trainval']),
        SegmentationClassAug=lists['trainaug'],
    )


@pytest.mark.parametrize('kind', ['SegmentationClass', 'SegmentationObject', 'SegmentationClassAug'])
def test_voc_labels_are_palette_images(roots, kind):
    for path in (roots / f'voc/VOC2012/{kind}').iterdir():
        image = Image.open(path)
        assert image.mode == 'P' and image.getpalette('RGB') == voc_palette().ravel().tolist()


@pytest.mark.parametrize('split, index, name', [('train', 0, '2008_000001'), ('val', 1, '2009_000002')])
def test_voc_labels_have_a_border(roots, split, index, name):
    drawn, folder = scene(split, index), roots / 'voc/VOC2012'
    classes, objects = (
        read(folder / f'{kind}/{name}.png') for kind in ('SegmentationClass', 'SegmentationObject')
    )
    border = classes == 255
    assert np.array_equal(border, objects == 255) and 0.01 < border.mean() < 0.25
    assert np.array_equal(classes[~border], drawn.label[~border])
    for number, mask in enumerate(drawn.instances, 1):
        assert (objects[mask & ~border] == number).all()
    assert (objects[(drawn.label == 0) & ~border] == 0).all()
    # Between two objects and around each: neighbours of another kind are never both labelled.
    numbers = objects.astype(int)
    for a, b in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        assert ((a == b) | (a == 255) | (b == 255)).all()


@pytest.mark.parametrize('side, reach', [(64, 1), (399, 1), (400, 2), (1000, 5)])
def test_voc_borders_are_wider_in_large_scenes(side, reach):
    """Of an object in the middle: so many pixels on each side of its outline."""
    numbers = np.zeros((side, side), np.uint8)
    middle = side // 2
    numbers[:, middle:] = 1
    border = _outlines(numbers)
    assert (border == border[:1]).all()
    assert np.flatnonzero(border[0]).tolist() == list(range(middle - reach, middle + reach))


def test_voc_aug_labels_have_none(roots):
    for index in range(5):
        found = read(roots / f'voc/VOC2012/SegmentationClassAug/2008_{index + 1:06d}.png')
        assert np.array_equal(found, scene('train', index).label)


def test_voc_needs_a_scene_for_each_list(tmp_path):
    with pytest.raises(
        ValueError, match='train: got 1 scene.*between train.txt and aug.txt; expected 2 or more'
    ):
        write_scenes(tmp_path / 'a', train=1, val=1, size=32, format='voc', workers=1)
    assert not (tmp_path / 'a').exists()


@pytest.mark.parametrize(
    'part, split, stem, count',
    [('train', 'train', '0006R0_f', 5), ('val', 'val', '0016E5_', 2), ('test', 'val', 'Seq05VD_f', 2)],
)
def test_camvid(roots, part, split, stem, count):
    root = roots / 'camvid'
    names = [f'{stem}{index:05d}.png' for index in range(count)]
    assert lines(root / f'{part}.txt') == [
        f'/SegNet/CamVid/{part}/{name} /SegNet/CamVid/{part}annot/{name}' for name in names
    ]
    for index, name in enumerate(names):
        drawn, label = scene(split, index), read(root / f'{part}annot' / name)
        assert Image.open(root / f'{part}annot' / name).mode == 'L'
        assert np.array_equal(label[:-STRIP], drawn.label[:-STRIP]) and (label[-STRIP:] == 11).all()
        assert np.array_equal(read(root / part / name), drawn.image)


@pytest.mark.parametrize(
    'part, split, numbers', [('train', 'train', [1, 3, 5, 7, 9]), ('test', 'val', [2, 4])]
)
def test_nyuv2(roots, part, split, numbers):
    of_13 = {member: name for name, members in MEMBERS_OF_13.items() for member in members}
    names_13, seen, missed = list(MEMBERS_OF_13), {}, set()
    for kind in ('images', 'depths', 'labels40', 'labels13'):
        assert sorted(path.name for path in (roots / 'nyuv2' / kind / part).iterdir()) == [
            f'{n:05d}.png' for n in numbers
        ]
    for index, number in enumerate(numbers):
        drawn = scene(split, index)
        images, depths, labels40, labels13 = (
            read(roots / f'nyuv2/{kind}/{part}/{number:05d}.png')
            for kind in ('images', 'depths', 'labels40', 'labels13')
        )
        assert np.array_equal(images, drawn.image)
        holes = depths == 0
        missed.add(holes.tobytes())
        assert depths.dtype == np.uint16 and 0.002 < holes.mean() < 0.05
        np.testing.assert_allclose(depths[~holes], drawn.depth[~holes] * 1000, atol=0.6)
        assert (labels40[-STRIP:] == 0).all() and (labels13[-STRIP:] == 0).all()
        for label in np.unique(drawn.label[:-STRIP]):
            there = (drawn.label == label)[:-STRIP]
            (found,) = np.unique(labels40[:-STRIP][there])
            assert seen.setdefault(label, found) == found and 1 <= found <= 40
            assert (labels13[:-STRIP][there] == names_13.index(of_13[CLASSES[found - 1]]) + 1).all()
    assert len(set(seen.values())) == len(seen) > 2 and len(missed) == len(numbers)


def test_what_the_sensor_misses_is_no_draw_of_the_scene(monkeypatch):
    """From the same random numbers, holes would tell where the scene has its things."""
    states, make = [], np.random.default_rng

    def record(seed):
        rng = make(seed)
        states.append(rng.bit_generator.state['state'])
        return rng

    monkeypatch.setattr(np.random, 'default_rng', record)
    scene_at(3, 'val', 1, size=SIZE)
    unmeasured((SIZE, SIZE), 3, 'val', 1)
    assert len(states) == 2 and states[0] != states[1]


def test_nyuv2_gives_each_scene_label_a_class_of_its_own_in_13_too():
    from kd_methods.datasets.nyuv2 import TO_13
    from kd_methods.scenes.forms.nyuv2 import LABELS_40

    assert len(LABELS_40) == len(set(LABELS_40.tolist())) == len(set(TO_13[LABELS_40].tolist())) == 11


def test_nyuv2s_converter_does_not_take_the_scenes_for_its_own_work(roots):
    assert not (roots / 'nyuv2/nyuv2.json').exists()


@pytest.mark.parametrize('part, split, count', [('training', 'train', 5), ('validation', 'val', 2)])
def test_ade20k(roots, part, split, count):
    root = roots / 'ade20k'
    stems = [f'ADE_{split}_{number:08d}' for number in range(1, count + 1)]
    assert sorted(path.name for path in (root / 'images' / part).iterdir()) == [
        f'{stem}.jpg' for stem in stems
    ]
    assert sorted(path.name for path in (root / 'annotations' / part).iterdir()) == [
        f'{stem}.png' for stem in stems
    ]
    for index, stem in enumerate(stems):
        drawn, label = scene(split, index), read(root / f'annotations/{part}/{stem}.png')
        assert np.array_equal(label[:-STRIP], drawn.label[:-STRIP] + 1) and (label[-STRIP:] == 0).all()
        assert abs(read(root / f'images/{part}/{stem}.jpg').astype(int) - drawn.image).mean() < 4  # JPEG
