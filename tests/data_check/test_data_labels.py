"""Values of label maps: what they stand for, and how often each class occurs."""

import numpy as np
import pytest
from PIL import Image
from raw_segmentation import CLASSES, label_map, put, write_split

from kd_methods.data_check.look import look
from kd_methods.data_check.page import check_data
from kd_methods.data_check.scan import ScanBudget
from kd_methods.data_check.segmentation import meanings


@pytest.mark.parametrize('zero', [False, True])
@pytest.mark.parametrize(
    'mapping', [None, {0: 2, 2: 0}, {1: 255, 3: 1}, {11: 255}], ids=['none', 'swapped', 'left out', 'void']
)
def test_values_stand_for_what_mmseg_makes_of_them(zero, mapping, tmp_path):
    from mmseg.datasets.transforms import LoadAnnotations

    path = put(tmp_path / 'a.png', np.arange(256, dtype=np.uint8).reshape(16, 16))
    info = dict(seg_map_path=str(path), seg_fields=[], reduce_zero_label=zero, label_map=mapping)
    np.testing.assert_array_equal(
        meanings(zero, mapping), LoadAnnotations().transform(info)['gt_seg_map'].ravel()
    )


@pytest.mark.parametrize('zero', [False, True])
@pytest.mark.parametrize('workers', [1, 2])
def test_frequencies_are_those_of_the_loaded_labels(zero, workers, small):
    """Against the data set itself, image by image."""
    from mmengine.registry import DATASETS

    write_split(small.root, 'train', 20, high=4 if zero else 3)
    small.train.reduce_zero_label = zero
    split = look(small.cfg, ['train'], ScanBudget(workers=workers)).entries[0]
    pixels, images = np.zeros(3, int), np.zeros(3, int)
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        dataset = registry.build(small.train)
    for sample in dataset:
        label = sample['data_samples'].gt_sem_seg.data.numpy()
        counts = np.array([(label == k).sum() for k in range(3)])
        pixels, images = pixels + counts, images + (counts > 0)
    assert split.findings == []
    np.testing.assert_array_equal(split.counts, pixels)
    np.testing.assert_array_equal(split.with_class, images)
    assert split.sizes == {(16, 24): 20} and split.looked == split.labels == 20


def test_classes_are_counted_over_all_data_sets_of_a_split(small, notes):
    """One of two has no wall, the other no door."""
    write_split(small.root, 'more', 3)
    for split, missing in (('train', 1), ('more', 2)):
        for path in (small.root / split / 'labels').iterdir():
            put(path, np.where(label_map() == missing, 0, label_map()))
    more = dict(small.train.to_dict(), data_prefix=dict(img_path='more/images', seg_map_path='more/labels'))
    small.cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[small.train.to_dict(), more])
    assert notes(small.cfg) == []


def test_classes_that_never_occur_get_a_note(small, notes, wrong):
    for path in (small.root / 'train/labels').iterdir():
        put(path, label_map() * 0)
    assert notes(small.cfg) == ['train: 2 of 3 classes never occur: wall, door.']
    assert wrong(small.cfg) == []


def test_a_part_says_nothing_about_what_never_occurs(small):
    for path in (small.root / 'train/labels').iterdir():
        put(path, label_map() * 0)
    (note,) = check_data(small.cfg, 'CONFIG', ['train'], limit=2, workers=1).notes
    assert note.startswith('At most 2 samples of each data set were read (--limit)')


def test_no_class_at_all_is_wrong(small, wrong):
    for path in (small.root / 'train/labels').iterdir():
        put(path, np.full((16, 24), 255, np.uint8))
    assert (
        'no pixel of the labels has a class: the files hold 255 alone, which is ignored'
        in wrong(small.cfg)[0]
    )


def test_files_beyond_the_first_three_are_counted(small, wrong):
    for i in (1, 2, 4, 5):
        put(small.root / f'train/labels/{i:03d}.png', label_map() + 3)
    (text,) = wrong(small.cfg)
    assert '4 of 6 label files' in text and '/001.png (2, 3, 4, 5' not in text
    assert 'train/labels/001.png (3, 4, 5), 002.png (3, 4, 5), 004.png (3, 4, 5), ... (4 in all).' in text


def test_a_choice_of_classes_is_counted_under_its_own_names(small):
    """mmseg's label_map puts 'door' first and entries 'wall' out."""
    from mmengine.registry import DATASETS
    from mmseg.datasets import BaseSegDataset

    class Three(BaseSegDataset):
        METAINFO = dict(classes=CLASSES, palette=[[0] * 3, [1] * 3, [2] * 3])

    DATASETS.register_module(name='ThreeClasses', module=Three, force=True)
    small.train.update(type='ThreeClasses', metainfo=dict(classes=('door', 'ground')))
    split = look(small.cfg, ['train'], ScanBudget(workers=1)).entries[0]
    labels = np.stack([np.array(Image.open(path)) for path in (small.root / 'train/labels').iterdir()])
    assert split.classes == ('door', 'ground')
    assert split.counts.tolist() == [(labels == 2).sum(), (labels == 0).sum()]


def test_one_text_for_the_classes_is_no_tuple(small, wrong, quick):
    """``('cat')`` is a text of three letters."""
    small.train.metainfo = dict(classes=('cat'))
    said = "train_dataloader.dataset: metainfo.classes='cat' is one text. For one class, write a tuple"
    assert wrong(small.cfg)[0].startswith(said) and "classes=('cat',)" in wrong(small.cfg)[0]
    assert said in quick(small.cfg)


def test_a_file_of_classes_is_read(small, wrong):
    (small.root / 'classes.txt').write_text('\n'.join(CLASSES))
    small.train.metainfo = dict(classes=str(small.root / 'classes.txt'))
    assert look(small.cfg, ['train'], ScanBudget(workers=1)).entries[0].classes == CLASSES
    assert wrong(small.cfg) == []
