"""What the data sets of a config have to do with each other and with their pipelines."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset
from raw_segmentation import CLASSES, LOAD, label_map, put


def sample_of(cfg: Config) -> dict:
    """The first sample of the training, as a run reads it."""
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        return registry.build(cfg.train_dataloader.dataset)[0]


@pytest.mark.parametrize('lazy', [False, True])
def test_labels_that_no_data_set_names_stop_a_run(lazy, small, quick, wrong):
    small.train.lazy_init = lazy
    del small.train.data_prefix['seg_map_path']
    with pytest.raises(KeyError, match='seg_map_path'):
        sample_of(small.cfg)
    said = 'train_dataloader.dataset: LoadAnnotations of the pipeline reads labels, and BaseSegDataset'
    assert quick(small.cfg).startswith(f'refused: {said}') and wrong(small.cfg)[0].startswith(said)
    assert '--cfg-options train_dataloader.dataset.data_prefix.seg_map_path=DIR' in wrong(small.cfg)[0]
    small.cfg.merge_from_dict({'train_dataloader.dataset.data_prefix.seg_map_path': 'train/labels'})
    assert quick(small.cfg) == '' and wrong(small.cfg) == []


def test_images_alone_may_be_tested(small, quick, wrong):
    for dataset in (small.val, small.cfg.test_dataloader.dataset):
        del dataset.data_prefix['seg_map_path']
        dataset.pipeline = [LOAD[0], LOAD[2]]
    assert quick(small.cfg) == '' and wrong(small.cfg) == []


@DATASETS.register_module()
class DatasetThatFindsItsLabels(BaseSegDataset):
    """Somebody's own data set, which names the labels when a sample is read."""

    METAINFO = dict(classes=CLASSES, palette=[[0, 0, 0], [1, 1, 1], [2, 2, 2]])

    def prepare_data(self, idx):
        info = self.get_data_info(idx)
        return self.pipeline(dict(info, seg_map_path=info['img_path'].replace('images', 'labels')))


def test_a_data_set_may_name_labels_late(small, quick, wrong):
    small.train.update(type='DatasetThatFindsItsLabels')
    small.train.data_prefix.pop('seg_map_path')
    assert sample_of(small.cfg)['data_samples'].gt_sem_seg.shape == (16, 24)
    assert quick(small.cfg) == '' and wrong(small.cfg) == []


def test_a_label_larger_than_its_image_stops_a_measurement(small, quick):
    """In training a crop of one size can be taken of both, which is a warning; a metric compares them pixel
    by pixel.
    """
    import torch
    from mmseg.evaluation import IoUMetric

    for path in (small.root / 'val/labels').iterdir():
        put(path, np.tile(label_map(), (2, 2)))
    assert quick(small.cfg).startswith('refused: val_dataloader.dataset: all 3 label files with another size')
    with pytest.raises(IndexError):
        IoUMetric.intersect_and_union(
            torch.zeros(16, 24), torch.from_numpy(np.tile(label_map(), (2, 2))), 3, 255
        )


def test_labels_behind_the_resizing_keep_their_size(small, quick):
    """Only a Resize behind LoadAnnotations brings both to one size."""
    for path in (small.root / 'train/labels').iterdir():
        put(path, label_map(size=(8, 12)))
    resize = dict(type='Resize', scale=(24, 16), keep_ratio=False)
    small.train.pipeline = [LOAD[0], resize, *LOAD[1:]]
    assert sample_of(small.cfg)['data_samples'].gt_sem_seg.shape == (8, 12)
    assert quick(small.cfg).startswith('refused: ')
    small.train.pipeline = [*LOAD[:2], resize, LOAD[2]]
    assert sample_of(small.cfg)['data_samples'].gt_sem_seg.shape == (16, 24)
    assert quick(small.cfg).startswith('warned: ')


def test_images_of_the_training_are_said_once_of_a_data_set(small, notes):
    """The test reads what validation reads, which are two images of the training: one note."""
    (small.root / 'list.txt').write_text('000\n001\n')
    small.val.update(ann_file='list.txt', data_prefix=small.train.data_prefix)
    small.cfg.test_dataloader.dataset = small.val
    (note,) = notes(small.cfg)
    assert note.startswith('val_dataloader.dataset: all 2 images are images of the training too')


def test_a_data_set_that_is_that_of_the_training_is_named(small, notes):
    small.cfg.val_dataloader.dataset = small.cfg.test_dataloader.dataset = small.train
    assert [note.split(':')[0] for note in notes(small.cfg)] == [
        'val_dataloader.dataset',
        'test_dataloader.dataset',
    ]
