"""NYUv2Dataset and NYUv2Dataset13 on what the conversion writes."""

import mmcv
import mmseg.registry
import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from raw_nyuv2 import MAPPING, TEST, TRAIN, official, write_mat, write_splits

from kd_methods.convert.nyuv2 import convert_nyuv2
from kd_methods.datasets import NYUv2Dataset, NYUv2Dataset13
from kd_methods.datasets.nyuv2 import MEMBERS_OF_13
from kd_methods.export.plain_config import stock_dataset

LOAD = [dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')]
SETS = {40: NYUv2Dataset, 13: NYUv2Dataset13}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A small data set, converted."""
    import scipy.io

    folder = tmp_path_factory.mktemp('nyuv2')
    write_mat(folder / 'labeled.mat', official())
    scipy.io.savemat(folder / 'mapping.mat', dict(mapClass=MAPPING))
    write_splits(folder / 'splits.mat')
    convert_nyuv2(
        folder / 'labeled.mat', folder / 'mapping.mat', folder / 'splits.mat', folder / 'data', log=[].append
    )
    return folder / 'data'


def prefix(count=40, split='train', x=True):
    folders = dict(img_path=f'images/{split}', seg_map_path=f'labels{count}/{split}')
    return dict(folders, x_path=f'depths/{split}') if x else folders


def fine_as(count, number):
    """Labels of an image as a network learns them: classes from 0, 255 where nothing is labelled."""
    cls, names = SETS[count].METAINFO['classes'], NYUv2Dataset.METAINFO['classes']
    of_13 = {member: name for name, members in MEMBERS_OF_13.items() for member in members}

    def label(fine):
        if fine == 0:
            return 255
        name = names[MAPPING[fine - 1] - 1]
        return cls.index(name if count == 40 else of_13[name])

    return np.vectorize(label)(official()['labels'][number - 1].astype(int))


@pytest.mark.parametrize('count', [40, 13])
@pytest.mark.parametrize('split, numbers', [('train', TRAIN), ('test', TEST)])
def test_reads_the_conversion(root, count, split, numbers):
    dataset = SETS[count](data_root=str(root), data_prefix=prefix(count, split), pipeline=LOAD)
    assert len(dataset) == 3
    for i, number in enumerate(numbers):
        item = dataset[i]
        assert item['x_path'] == str(root / f'depths/{split}/{number:05d}.png')
        np.testing.assert_array_equal(item['img'][..., ::-1], official()['images'][number - 1])
        np.testing.assert_array_equal(item['gt_seg_map'], fine_as(count, number))
        assert item['gt_seg_map'][1, 2] == 255 and item['gt_seg_map'].dtype == np.uint8


def test_without_depth_and_without_labels(root):
    info = NYUv2Dataset(data_root=str(root), data_prefix=prefix(x=False)).get_data_info(0)
    assert 'x_path' not in info
    info = NYUv2Dataset(data_root=str(root), data_prefix=dict(img_path='images/test')).get_data_info(0)
    assert 'seg_map_path' not in info


def test_names_in_the_order_of_the_labels():
    names = NYUv2Dataset.METAINFO['classes']
    assert len(names) == len(set(names)) == 40
    order = {
        1: 'wall',
        2: 'floor',
        8: 'door',
        16: 'curtain',
        20: 'floor mat',
        22: 'ceiling',
        24: 'refridgerator',
        25: 'television',
        32: 'night stand',
        37: 'bag',
        38: 'otherstructure',
        39: 'otherfurniture',
        40: 'otherprop',
    }
    assert {label: names[label - 1] for label in order} == order
    assert NYUv2Dataset13.METAINFO['classes'] == (
        'bed',
        'books',
        'ceiling',
        'chair',
        'floor',
        'furniture',
        'objects',
        'picture',
        'sofa',
        'table',
        'tv',
        'wall',
        'window',
    )
    assert sorted(member for members in MEMBERS_OF_13.values() for member in members) == sorted(names)


@pytest.mark.parametrize('count', [40, 13])
def test_palette(count):
    """The colours of Pascal VOC, from label 1."""
    palette = SETS[count].METAINFO['palette']
    assert len(palette) == len({tuple(colour) for colour in palette}) == count
    assert palette[:8] == [
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert [0, 0, 0] not in palette


def test_choice_of_classes(root):
    dataset = NYUv2Dataset13(
        data_root=str(root), data_prefix=prefix(13), metainfo=dict(classes=('wall', 'bed')), pipeline=LOAD
    )
    whole = fine_as(13, TRAIN[0])
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], np.select([whole == 11, whole == 0], [0, 1], 255))
    assert {0, 1} <= set(dataset[0]['gt_seg_map'].ravel())
    palette = NYUv2Dataset13.METAINFO['palette']
    assert dataset.metainfo['palette'] == [palette[11], palette[0]]
    with pytest.raises(ValueError, match='not a subset'):
        NYUv2Dataset13(metainfo=dict(classes=('cabinet',)), lazy_init=True)


@pytest.mark.parametrize('count', [40, 13])
def test_stock_dataset_reads_the_same(root, count):
    """What an exported student's config names in place of our class."""
    cfg = dict(
        type=SETS[count].__name__,
        data_root=str(root),
        data_prefix=prefix(count, 'test', x=False),
        pipeline=[],
    )
    stock_cfg = stock_dataset(cfg)
    assert stock_cfg['type'] == 'BaseSegDataset'
    stock_cfg['pipeline'] = LOAD
    with mmseg.registry.DATASETS.switch_scope_and_registry('mmseg') as registry:
        stock, ours = registry.build(stock_cfg), registry.build(dict(cfg, pipeline=LOAD))
    assert type(stock) is BaseSegDataset and type(ours) is SETS[count]
    assert len(stock) == len(ours) == 3
    for theirs, item in zip(stock, ours):
        assert theirs['img_path'] == item['img_path']
        np.testing.assert_array_equal(theirs['img'], item['img'])
        np.testing.assert_array_equal(theirs['gt_seg_map'], item['gt_seg_map'])
    assert (
        list(stock.metainfo['classes']) == list(ours.metainfo['classes'])
        and len(stock.metainfo['classes']) == count
    )
    assert stock.metainfo['palette'] == ours.metainfo['palette']
    assert stock.metainfo['reduce_zero_label'] is ours.metainfo['reduce_zero_label'] is True


@pytest.mark.parametrize('key', ['img_path', 'x_path', 'seg_map_path'])
def test_missing_folder(root, key):
    folders = dict(prefix(), **{key: 'gone'})
    with pytest.raises(
        FileNotFoundError, match=rf'NYUv2Dataset \(data_prefix.{key}\) finds no .*gone.*data_root=.*nyuv2.py'
    ):
        NYUv2Dataset(data_root=str(root), data_prefix=folders)


def test_empty_folder(tmp_path):
    (tmp_path / 'images/train').mkdir(parents=True)
    with pytest.raises(
        FileNotFoundError, match=r'NYUv2Dataset13: no image \*.png in .*data_prefix.img_path.*nyuv2.py'
    ):
        NYUv2Dataset13(data_root=str(tmp_path), data_prefix=dict(img_path='images/train'))


def write_one(root, label):
    mmcv.imwrite(np.zeros((2, 3, 3), np.uint8), str(root / 'i/a.png'))
    mmcv.imwrite(np.asarray(label), str(root / 'l/a.png'))
    return dict(data_root=str(root), data_prefix=dict(img_path='i', seg_map_path='l'), pipeline=LOAD)


def test_labels_of_another_numbering(root, tmp_path):
    with pytest.raises(
        ValueError, match=r'NYUv2Dataset13: .* expected 0 \(unlabelled\) and 1 to 13.*labels13/'
    ):
        NYUv2Dataset13(data_root=str(root), data_prefix=prefix(40))
    label = np.array([[0, 39, 255], [1, 2, 3]], np.uint8)  # mmseg drops an axis of length 1
    keys = write_one(tmp_path, label)
    with pytest.raises(ValueError, match=r'holds the labels \[255\], expected 0 \(unlabelled\) and 1 to 40'):
        NYUv2Dataset(**keys)
    item = NYUv2Dataset(**keys, reduce_zero_label=False)[0]
    assert item['gt_seg_map'].tolist() == label.tolist()
    write_one(tmp_path, np.array([[0, 40, 1], [2, 3, 4]], np.uint8))
    with pytest.raises(
        ValueError, match=r'holds the labels \[40\], expected 0 to 39 and 255 .*reduce_zero_label=False'
    ):
        NYUv2Dataset(**keys, reduce_zero_label=False)
    assert NYUv2Dataset(**keys)[0]['gt_seg_map'].tolist() == [[255, 39, 0], [1, 2, 3]]


def test_labels_are_colours_or_missing(tmp_path):
    keys = write_one(tmp_path, np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(ValueError, match=r'shape \(2, 3, 3\).*labels, not colours'):
        NYUv2Dataset(**keys)
    (tmp_path / 'l/a.png').unlink()
    with pytest.raises(FileNotFoundError, match="finds no '.*l/a.png'.*seg_map_path"):
        NYUv2Dataset(**keys)
