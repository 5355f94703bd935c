"""Data that a run can read: the quick look does not stop it, and the whole check finds nothing wrong."""

import re
import warnings

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS
from mmseg.datasets import BaseSegDataset
from raw_segmentation import CLASSES, LOAD, config, data_set, head, label_map, put, write_split


@TRANSFORMS.register_module()
class HalveLabels(BaseTransform):
    """Somebody's own transform, which makes classes of 0 and 255."""

    def transform(self, results):
        results['gt_seg_map'] = results['gt_seg_map'] // 255
        return results


@TRANSFORMS.register_module()
class LoadLabelsFromElsewhere(BaseTransform):
    """Somebody's own loader, which needs no label files."""

    def transform(self, results):
        results['gt_seg_map'] = np.zeros(results['img'].shape[:2], np.uint8)
        return results


@DATASETS.register_module()
class DatasetWithItsOwnList(BaseSegDataset):
    """Somebody's own data set; building it takes long, or fails here."""

    def load_data_list(self):
        raise RuntimeError('not on this machine')


@DATASETS.register_module()
class DatasetOfSomethingElse(BaseDataset):
    """No segmentation and no objects."""


def binary_masks_and_their_transform(small):
    for path in (small.root / 'train/labels').iterdir():
        put(path, np.where(label_map() == 1, 255, 0).astype(np.uint8))
    small.train.pipeline = [*LOAD[:2], dict(type='HalveLabels'), LOAD[2]]


def labels_from_elsewhere(small):
    for path in (small.root / 'train/labels').iterdir():
        path.unlink()
    small.train.pipeline = [LOAD[0], dict(type='LoadLabelsFromElsewhere'), LOAD[2]]


def a_test_split_without_labels(small):
    for path in (small.root / 'val/labels').iterdir():
        path.unlink()
    (small.root / 'val/labels').rmdir()
    small.val.pipeline = small.cfg.test_dataloader.dataset.pipeline = [LOAD[0], LOAD[2]]


def a_part_of_a_data_set(small):
    """Of the second half of the files some are missing, and that half is not read."""
    (small.root / 'train/labels/005.png').unlink()
    small.train.indices = 3


def a_choice_of_classes(small):
    """mmseg maps the classes that are left out to 255."""
    small.train.update(type='CamVidLike', metainfo=dict(classes=('door', 'ground')))
    small.val.update(type='CamVidLike', metainfo=dict(classes=('door', 'ground')))
    small.cfg.test_dataloader.dataset.update(small.val)
    small.cfg.model.decode_head.num_classes = 2


@DATASETS.register_module()
class CamVidLike(BaseSegDataset):
    """A class that knows its classes."""

    METAINFO = dict(classes=CLASSES, palette=[[0, 0, 0], [1, 1, 1], [2, 2, 2]])


def another_ignored_value(small):
    for path in [*(small.root / 'train/labels').iterdir(), *(small.root / 'val/labels').iterdir()]:
        put(path, np.where(label_map() == 255, 77, label_map()))
    small.cfg.model.decode_head.ignore_index = 77
    small.cfg.val_evaluator = small.cfg.test_evaluator = [
        dict(type='IoUMetric', ignore_index=77),
        dict(type='DumpResults'),
    ]


def ignored_by_all_heads(small):
    another_ignored_value(small)
    small.cfg.model.auxiliary_head = [head(3, ignore_index=77), dict(type='STDCHead', num_classes=2)]
    small.train.ignore_index = 200  # which nobody asks


def one_output_for_two_classes(small):
    """mmseg takes that: a sigmoid, and labels 0 and 1."""
    write_split(small.root, 'train', 6, high=2)
    write_split(small.root, 'val', 3, high=2)
    for dataset in (small.train, small.val, small.cfg.test_dataloader.dataset):
        dataset.metainfo = dict(classes=('background', 'crack'))
    small.cfg.model.decode_head = head(1, out_channels=1)
    small.cfg.model.decode_head.loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=True)


def two_classes_in_one_channel(small):
    one_output_for_two_classes(small)
    small.cfg.model.decode_head = head(2, out_channels=1)


def a_head_that_learns_edges(small):
    small.cfg.model.auxiliary_head = [head(3), dict(type='STDCHead', num_classes=2)]


def classes_in_words(small):
    small.cfg.model.update(decode_head=head(20), text_encoder=dict(type='CLIPTextEncoder'))


def a_head_without_a_number(small):
    small.cfg.model.decode_head = dict(type='SomeHead')


def a_data_set_that_does_not_name_its_classes(small):
    for dataset in (small.train, small.val, small.cfg.test_dataloader.dataset):
        del dataset['metainfo']


def palette_images(small):
    for path in (small.root / 'train/labels').iterdir():
        from PIL import Image

        image = Image.fromarray(label_map())
        image.putpalette([200, 10, 10] * 256)
        image.save(path)


def turned_photographs(small):
    """The loader turns an image as its EXIF orientation says, so its label lies the other way."""
    from PIL import Image

    for i in range(6):
        exif = Image.Exif()
        exif[0x0112] = 6
        put(small.root / f'train/images/{i:03d}.jpg', np.zeros((24, 16, 3), np.uint8), exif=exif)
    small.train.img_suffix = '.jpg'


def wrapped_twice(small):
    inner = small.train.to_dict()
    small.cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[inner, dict(inner, ann_file='')]),
    )


GOOD = [
    binary_masks_and_their_transform,
    labels_from_elsewhere,
    a_test_split_without_labels,
    a_part_of_a_data_set,
    a_choice_of_classes,
    another_ignored_value,
    ignored_by_all_heads,
    one_output_for_two_classes,
    two_classes_in_one_channel,
    a_head_that_learns_edges,
    classes_in_words,
    a_head_without_a_number,
    a_data_set_that_does_not_name_its_classes,
    palette_images,
    turned_photographs,
    wrapped_twice,
]


@pytest.mark.parametrize('change', GOOD, ids=[change.__name__ for change in GOOD])
def test_nothing_is_wrong(change, small, wrong, quick):
    change(small)
    assert quick(small.cfg) == ''
    assert wrong(small.cfg) == []


def own_list(small):
    small.train['type'] = 'DatasetWithItsOwnList'


def other_type(small):
    small.train.update(type='DatasetOfSomethingElse')


def not_registered(small):
    small.train['type'] = 'DatasetOfNobody'


def remote(small):
    small.train.update(data_root='s3://bucket/data')


def remote_by_backend(small):
    small.train.backend_args = dict(backend='petrel')


@pytest.mark.parametrize(
    'change, pattern',
    [
        (own_list, None),
        (
            other_type,
            'train_dataloader.dataset: not looked at: the type DatasetOfSomethingElse is not known here',
        ),
        (not_registered, 'not looked at: the type DatasetOfNobody is not known'),
        (remote, 'not looked at: its files are not on this machine'),
        (remote_by_backend, 'not looked at: its files are not on this machine'),
    ],
    ids=['own_list', 'other_type', 'not_registered', 'remote', 'remote_by_backend'],
)
def test_what_is_not_known_stops_no_run(change, pattern, small, wrong, notes, quick):
    """The whole check says that it was not looked at, and why."""
    change(small)
    assert quick(small.cfg) == ''
    if pattern:
        assert wrong(small.cfg) == [] and any(pattern in note for note in notes(small.cfg))
    else:
        assert any(
            'DatasetWithItsOwnList cannot be built: RuntimeError: not on this machine' in text
            for text in wrong(small.cfg)
        )


def test_what_a_pipeline_can_live_with_is_a_warning(small, wrong, quick):
    """Labels of half the size are brought to that of the image; a missing image is passed over if the loader
    is told so.
    """
    for path in (small.root / 'train/labels').iterdir():
        put(path, label_map(size=(8, 12)))
    small.train.pipeline = [*LOAD[:2], dict(type='Resize', scale=(16, 16), keep_ratio=False), LOAD[2]]
    assert quick(small.cfg).startswith('warned: ') and 'another size' in wrong(small.cfg)[0]

    write_split(small.root, 'train', 6)
    (small.root / 'train.txt').write_text('000\n777\n')
    small.train.update(ann_file='train.txt', pipeline=[dict(LOAD[0], ignore_empty=True), *LOAD[1:]])
    assert 'warned: train_dataloader.dataset: 1 of 2 listed images missing' in quick(small.cfg)


def test_labels_of_validation_beyond_the_classes_are_a_warning(small, quick):
    """mmseg's metric passes over them."""
    write_split(small.root, 'val', 3, high=5)
    assert quick(small.cfg).startswith(
        'warned: val_dataloader.dataset: all 3 label files with values that are no class'
    )


def test_a_loss_that_takes_any_label_is_no_reason_to_stop(small, quick):
    write_split(small.root, 'train', 6, high=5)
    small.cfg.model.decode_head.loss_decode = dict(type='DiceLoss')
    assert quick(small.cfg).startswith('warned: ')
    small.cfg.model.decode_head.loss_decode = [dict(type='DiceLoss'), dict(type='CrossEntropyLoss')]
    assert quick(small.cfg).startswith('refused: ')


def test_a_list_of_loaders_and_no_model(small, quick, wrong):
    cfg = Config(
        dict(default_scope='mmseg', val_dataloader=[dict(dataset=small.val), dict(dataset=small.val)])
    )
    assert quick(cfg) == '' and wrong(cfg) == []
    cfg.val_dataloader[1].dataset = dict(small.val, data_root='nowhere')
    assert 'val_dataloader.1.dataset: BaseSegDataset finds no' in quick(cfg)


def test_nothing_is_warned_about_on_a_good_data_set(tmp_path):
    """mmseg's own warnings included: a log begins with them otherwise."""
    from kd_methods.data_check.look import check_datasets

    write_split(tmp_path, 'train', 2)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check_datasets(config(data_set(tmp_path, 'train')), 'train')


def test_labels_of_few_classes_under_a_class_of_many_are_a_warning(small, quick):
    """A data set class that is borrowed: a head for what the labels hold trains, one for less does not."""
    for dataset in (small.train, small.val, small.cfg.test_dataloader.dataset):
        dataset.metainfo = dict(classes=tuple('abcdefgh'))
    assert re.match('warned: model.decode_head.num_classes=3, but .* have 8 classes', quick(small.cfg))
    small.cfg.model.decode_head.num_classes = 2
    assert re.match('refused: model.decode_head.num_classes=2, but .* have 8 classes', quick(small.cfg))


def test_labels_larger_than_their_image_are_a_warning(small, quick):
    """A crop of one size can be taken of both; nothing lies where it should."""
    for path in (small.root / 'train/labels').iterdir():
        put(path, np.tile(label_map(), (2, 2)))
    assert 'warned' in quick(small.cfg) and 'larger (height x width) than the image' in quick(small.cfg)


@TRANSFORMS.register_module()
class ReadFromElsewhere(BaseTransform):
    """Somebody's own transform, which says where an image really is."""

    def transform(self, results):
        return dict(results, img_path=results['img_path'].replace('nowhere', 'train'))


def test_a_transform_that_moves_paths_is_trusted(small, quick):
    names = [path.stem for path in (small.root / 'train/images').iterdir()]
    (small.root / 'list.txt').write_text('\n'.join(f'absent_{name}' for name in names))
    small.train.ann_file = 'list.txt'
    assert quick(small.cfg).startswith('refused')
    small.train.pipeline = [dict(type='ReadFromElsewhere'), *LOAD]
    assert quick(small.cfg) == ''


@DATASETS.register_module()
class DatasetThatReadsItsOwnWay(BaseSegDataset):
    """Somebody's own data set, whose list is not what is read."""

    def prepare_data(self, idx):
        raise NotImplementedError


def test_a_data_set_that_reads_its_own_way_is_trusted(small, quick):
    (small.root / 'train/labels/003.png').unlink()
    assert quick(small.cfg).startswith('refused')
    small.train.type = 'DatasetThatReadsItsOwnWay'
    assert quick(small.cfg) == ''
