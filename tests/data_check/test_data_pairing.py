"""What is said about files beside the mistakes of test_data_mistakes.py."""

import re

import numpy as np
import pytest
from raw_segmentation import LOAD, config, data_set, put, write_split

from kd_methods.data_check.look import look
from kd_methods.data_check.pairing import Folders
from kd_methods.data_check.scan import ScanBudget


def test_labels_without_an_image_are_counted(small, notes, wrong):
    for name in ('5', '6', '7', '8'):
        put(small.root / f'train/labels/more/{name}.png', np.eye(4, dtype=np.uint8))
    (small.root / 'train/labels/readme.txt').write_text('no label')
    (note,) = notes(small.cfg)
    assert note.startswith('train_dataloader.dataset: not read, as there is no image of that name in ')
    assert 'train/labels/more/5.png, 6.png, 7.png, ... (4 in all).' in note
    assert wrong(small.cfg) == []


def test_labels_of_another_split_have_their_images(small, notes):
    """A list takes a part of the folders."""
    (small.root / 'part.txt').write_text('001\n003\n')
    small.train.ann_file = 'part.txt'
    assert notes(small.cfg) == []


def test_images_of_the_training_in_the_validation(small, notes, wrong):
    small.val.data_prefix = dict(img_path='train/images', seg_map_path='train/labels')
    (note,) = notes(small.cfg)
    assert (
        note.startswith('val_dataloader.dataset: all 6 images are images of the training too: ')
        and wrong(small.cfg) == []
    )


def test_equal_data_sets_are_read_once(small):
    seen = look(small.cfg, ('train', 'val', 'test'), ScanBudget(workers=1))
    assert [report.same_as for report in seen.entries] == ['', '', 'val_dataloader.dataset']
    assert seen.entries[2].looked == 0


def test_transforms_of_wrappers_count(small, wrong):
    """mmseg's MultiImageMixDataset loads in the inner pipeline and packs in its own."""
    (small.root / 'train/labels/001.png').unlink()
    small.train.pipeline = LOAD[:2]
    small.cfg.train_dataloader.dataset = dict(
        type='MultiImageMixDataset', dataset=small.train.to_dict(), pipeline=LOAD[2:]
    )
    assert '1 of 6 images without a label file' in wrong(small.cfg)[0]


@pytest.fixture
def with_x(tmp_path):
    """The small data set of a class with X."""
    from mmengine.registry import DATASETS
    from mmseg.datasets import BaseSegDataset

    from kd_methods.rgbx import RGBXDataset

    class SmallX(RGBXDataset, BaseSegDataset):
        METAINFO = dict(classes=('ground', 'wall', 'door'), palette=[[0] * 3, [1] * 3, [2] * 3])

    DATASETS.register_module(name='SmallX', module=SmallX, force=True)
    write_split(tmp_path, 'train', 6)
    for i in range(6):
        put(tmp_path / f'train/x/{i:03d}.png', np.zeros((16, 24), np.uint16))
    pipeline = [LOAD[0], dict(type='LoadXFromFile'), LOAD[1], dict(type='PackRGBXInputs')]
    return config(
        data_set(
            tmp_path,
            'train',
            'SmallX',
            pipeline=pipeline,
            data_prefix=dict(img_path='train/images', seg_map_path='train/labels', x_path='train/x'),
        )
    )


def test_x_is_paired_and_read(with_x, wrong, quick, tmp_path):
    assert wrong(with_x) == [] and quick(with_x) == ''
    seen = look(with_x, ['train'], ScanBudget(workers=1)).entries[0]
    assert (seen.x, seen.labels) == (6, 6)
    put(tmp_path / 'train/x/003.png', np.zeros((5, 5), np.uint16))
    path = tmp_path / 'train/x/000.png'
    path.write_bytes(path.read_bytes()[:-5])
    broken, other = wrong(with_x)
    assert '1 of 6 files of X cannot be read: ' in broken and 'x/000.png (broken PNG file' in broken
    assert (
        '1 of 6 files of X with another size (height x width) than the image: ' in other
        and '003.png (5 x 5, ' in other
    )
    assert quick(with_x).startswith(
        'refused: train_dataloader.dataset: 1 of 4 sampled files of X cannot be read'
    )


def test_x_that_no_transform_reads_is_not_read(with_x, wrong, tmp_path):
    (tmp_path / 'train/x/004.png').write_bytes(b'')
    with_x.train_dataloader.dataset.pipeline = LOAD
    assert wrong(with_x) == []


@pytest.mark.parametrize(
    'files, cure',
    [
        (dict(trainannot='colours'), r'has the shape \(8, 8, 3\).*This class reads the 360 x 480 release'),
        (dict(), r"2 of the 2 files that '.*train.txt' names are missing"),
    ],
    ids=['colours', 'missing'],
)
def test_what_a_data_set_says_itself_is_passed_on(files, cure, tmp_path, wrong, quick):
    """CamVidDataset looks at its files when it is built."""
    if files:
        put(tmp_path / 'train/01.png', np.zeros((8, 8, 3), np.uint8))
        put(tmp_path / 'trainannot/01.png', np.zeros((8, 8, 3), np.uint8))
    for folder in ('train', 'trainannot'):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / 'train.txt').write_text('01\n')
    cfg = config(
        dict(type='CamVidDataset', data_root=str(tmp_path), ann_file='train.txt', pipeline=LOAD), classes=11
    )
    (text,) = wrong(cfg)
    assert re.search('train_dataloader.dataset: CamVidDataset: .*' + cure, text) and quick(cfg).startswith(
        f'refused: {text}'
    )


def test_a_name_with_blanks_is_a_name(small, quick):
    for kind in ('images', 'labels'):
        (small.root / f'train/{kind}/000.png').rename(small.root / f'train/{kind}/my 000.png')
    (small.root / 'list.txt').write_text('my 000\n')
    small.train.ann_file = 'list.txt'
    assert quick(small.cfg) == ''
    (small.root / 'train/images/my 000.png').unlink()
    assert 'all' not in quick(small.cfg) and 'Take them off the list, or get them' in quick(small.cfg)


def test_a_folder_that_cannot_be_listed_may_be_read(small, monkeypatch):
    """It takes another permission; and where capitals do not count, files are there under other names than
    listed.
    """
    monkeypatch.setattr('os.listdir', lambda folder: [])
    folders = Folders()
    assert folders.has(str(small.root / 'train/images/000.png'))
    assert not folders.has(str(small.root / 'train/images/777.png'))
