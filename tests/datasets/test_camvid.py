"""CamVidDataset on small trees in the form of the 360 x 480 release."""

from pathlib import Path

import mmcv
import mmseg.registry
import numpy as np
import pytest
from mmengine.config import Config

import kd_methods  # noqa: F401
from kd_methods.datasets import CamVidDataset

ROOT = Path(__file__).resolve().parents[2]
LOAD = [dict(type='mmseg.LoadAnnotations')]
NAMES = ['0001TP_006690', '0001TP_006720', 'Seq05VD_f00000']


def write_split(root, split, names, size=(18, 24), labels=None, prefix='/SegNet/CamVid/'):
    """Images, labels and a split file whose lines name both, as the public release has them."""
    rng = np.random.default_rng(0)
    for name in names:
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        label = rng.integers(0, 12, size, dtype=np.uint8) if labels is None else labels
        mmcv.imwrite(image, str(root / split / f'{name}.png'))
        mmcv.imwrite(label, str(root / f'{split}annot' / f'{name}.png'))
    lines = [f'{prefix}{split}/{n}.png {prefix}{split}annot/{n}.png' for n in names]
    (root / f'{split}.txt').write_text('\n'.join(lines) + '\n')


def raw_label(root, name, split='train'):
    return mmcv.imread(str(root / f'{split}annot' / f'{name}.png'), flag='unchanged')


def test_reads_the_release_and_ignores_void(tmp_path):
    write_split(tmp_path, 'train', NAMES)
    dataset = CamVidDataset(data_root=str(tmp_path), ann_file='train.txt', pipeline=LOAD)
    assert len(dataset) == 3  # a subset of the 367 is fine
    for i, name in enumerate(NAMES):
        item = dataset[i]
        assert item['img_path'] == str(tmp_path / 'train' / f'{name}.png')
        raw = raw_label(tmp_path, name)
        assert (raw == 11).any()
        expected = np.where(raw == 11, 255, raw)
        np.testing.assert_array_equal(item['gt_seg_map'], expected)


def test_void_may_be_255(tmp_path):
    label = np.array([[0, 10], [255, 11]], dtype=np.uint8)
    write_split(tmp_path, 'val', ['a'], labels=label)
    item = CamVidDataset(data_root=str(tmp_path), ann_file='val.txt', pipeline=LOAD)[0]
    assert item['gt_seg_map'].tolist() == [[0, 10], [255, 255]]


@pytest.mark.parametrize('suffix', ['', '.png'])
def test_plain_names_give_the_same_items(tmp_path, suffix):
    write_split(tmp_path, 'train', NAMES)
    pairs = CamVidDataset(data_root=str(tmp_path))
    (tmp_path / 'train.txt').write_text('\n\n'.join(n + suffix for n in NAMES))
    plain = CamVidDataset(data_root=str(tmp_path))
    paths = [(d['img_path'], d['seg_map_path']) for d in plain.load_data_list()]
    assert paths == [(d['img_path'], d['seg_map_path']) for d in pairs.load_data_list()]


def test_a_split_may_mix_folders(tmp_path):
    write_split(tmp_path, 'train', NAMES[:2])
    write_split(tmp_path, 'val', NAMES[2:])
    both = (tmp_path / 'train.txt').read_text() + (tmp_path / 'val.txt').read_text()
    (tmp_path / 'trainval.txt').write_text(both)
    dataset = CamVidDataset(data_root=str(tmp_path), ann_file='trainval.txt')
    assert dataset.get_data_info(2)['img_path'] == str(tmp_path / 'val' / f'{NAMES[2]}.png')


def test_classes_and_palette_in_the_order_of_the_labels():
    meta = CamVidDataset.METAINFO
    assert meta['classes'] == (
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
    )
    assert len({tuple(colour) for colour in meta['palette']}) == 11
    by_name = dict(zip(meta['classes'], meta['palette']))
    assert by_name['road'] == [128, 64, 128] and by_name['bicyclist'] == [0, 128, 192]


def test_choice_of_classes(tmp_path):
    write_split(tmp_path, 'train', ['a'], labels=np.arange(12, dtype=np.uint8).reshape(2, 6))
    dataset = CamVidDataset(data_root=str(tmp_path), metainfo=dict(classes=('car', 'sky')), pipeline=LOAD)
    assert dataset[0]['gt_seg_map'].tolist() == [[1, 255, 255, 255, 255, 255], [255, 255, 0, 255, 255, 255]]
    assert dataset.metainfo['palette'] == [[64, 0, 128], [128, 128, 128]]


def test_missing_files_are_named(tmp_path):
    write_split(tmp_path, 'train', NAMES)
    (tmp_path / 'trainannot' / f'{NAMES[1]}.png').unlink()
    with pytest.raises(FileNotFoundError, match=f'1 of the 6 files.*trainannot/{NAMES[1]}.png'):
        CamVidDataset(data_root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'\(ann_file\) finds no .*test.txt.*data_root'):
        CamVidDataset(data_root=str(tmp_path), ann_file='test.txt')


@pytest.mark.parametrize('line', ['train/a.png', 'a.png b.png', 'train/a.png trainannot/a.png 0'])
def test_a_line_of_another_form_is_quoted(tmp_path, line):
    write_split(tmp_path, 'train', ['a'])
    text = (tmp_path / 'train.txt').read_text()
    (tmp_path / 'train.txt').write_text(text + line)
    with pytest.raises(ValueError, match=f"line 2 of .*'{line}'; expected 'train/NAME.png"):
        CamVidDataset(data_root=str(tmp_path))


def test_empty_split_and_empty_name(tmp_path):
    (tmp_path / 'train.txt').write_text('\n')
    with pytest.raises(ValueError, match='names no image'):
        CamVidDataset(data_root=str(tmp_path))
    with pytest.raises(ValueError, match='name the split file'):
        CamVidDataset(data_root=str(tmp_path), ann_file='')


@pytest.mark.parametrize(
    'label, message',
    [
        (np.full((4, 4, 3), 64, np.uint8), r'shape \(4, 4, 3\).*360 x 480 release'),
        (np.full((4, 4), 31, np.uint8), r'holds the labels \[31\].*360 x 480 release'),
    ],
)
def test_other_releases_are_refused(tmp_path, label, message):
    write_split(tmp_path, 'train', ['a'], labels=label)
    with pytest.raises(ValueError, match=message):
        CamVidDataset(data_root=str(tmp_path))


def test_shipped_dataset_config(tmp_path):
    for split in ('train', 'val', 'test'):
        write_split(tmp_path, split, [f'{split}0'], size=(360, 480))
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/camvid_360x360.py')
    for split in ('train', 'val', 'test'):
        spec = cfg[f'{split}_dataloader'].dataset
        spec.data_root = str(tmp_path)
        with mmseg.registry.DATASETS.switch_scope_and_registry('mmseg') as registry:
            dataset = registry.build(spec)
        assert type(dataset) is CamVidDataset
        item = dataset[0]
        assert item['inputs'].shape[-2:] == item['data_samples'].gt_sem_seg.shape
        assert item['data_samples'].img_path == str(tmp_path / split / f'{split}0.png')
        if split == 'train':
            assert max(item['inputs'].shape[-2:]) <= 360
        else:
            assert item['inputs'].shape[-2:] == (360, 480)
