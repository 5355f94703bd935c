"""Folders and lists that a config names: those elsewhere stop no run, and of those that are missing the right
place is named.
"""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from raw_segmentation import LOAD, config, data_set, write_split

from kd_methods.data_check.paths import check_paths
from kd_methods.datasets.entries import entries_of

PETREL = dict(backend='petrel', path_mapping={'data/': 's3://bucket/'})


def of_loader(**keys) -> dict:
    return dict(pipeline=[dict(LOAD[0], **keys), *LOAD[1:]])


def with_root(root: str) -> dict:
    """No file is on this machine."""
    return dict(data_root=root, ann_file='train.txt')


@pytest.mark.parametrize(
    'keys',
    [
        dict(backend_args=PETREL),
        dict(backend_args=dict(backend='http')),
        dict(backend_args=dict(backend='lmdb', db_path='images.lmdb')),
        of_loader(backend_args=PETREL),
        of_loader(file_client_args=dict(backend='petrel')),
        dict(data_root='s3://bucket/city'),
        dict(data_root='cluster:s3://bucket/city'),
        dict(
            data_root='',
            ann_file='',
            data_prefix=dict(img_path='http://host/a', seg_map_path='http://host/b'),
        ),
    ],
    ids=['petrel', 'http', 'lmdb', 'loader', 'old loader', 'root', 'cluster', 'folders'],
)
def test_files_of_another_machine_are_not_looked_for(keys, small, quick, notes, wrong):
    """The whole check notes that it has not looked."""
    small.train.update(dict(with_root('data/elsewhere'), **keys))
    assert quick(small.cfg) == '' and wrong(small.cfg) == []
    assert any('not looked at: its files are not on this machine' in note for note in notes(small.cfg))


@pytest.mark.parametrize(
    'keys',
    [
        dict(backend_args=dict(backend='local')),
        of_loader(file_client_args=dict(backend='disk')),
        dict(data_root='C:/elsewhere'),
    ],
    ids=['local', 'old name', 'drive'],
)
def test_files_of_this_machine_are(keys, small, quick):
    small.train.update(dict(with_root('data/elsewhere'), **keys))
    assert quick(small.cfg).startswith('refused: train_dataloader.dataset: BaseSegDataset finds no ')


def test_a_data_set_of_another_scope(small, wrong):
    """As mmengine builds it: its own `_scope_` counts before the config's."""
    small.cfg.default_scope = 'mmdet'
    small.train['_scope_'] = 'mmseg'
    (small.root / 'train/labels/001.png').unlink()
    (entry,) = next(entries_of(small.cfg, 'train'))
    assert entry.name == 'BaseSegDataset' and entry.cls is not None
    assert any('1 of 6 images without a label file' in text for text in wrong(small.cfg))


def test_a_root_may_be_a_path(small, quick, wrong, notes):
    small.train.data_root = small.root
    assert isinstance(small.cfg.train_dataloader.dataset.data_root, Path)
    assert quick(small.cfg) == '' and wrong(small.cfg) == [] and notes(small.cfg) == []
    small.train.data_root = small.root / 'elsewhere'
    assert 'elsewhere' in quick(small.cfg)


@pytest.mark.parametrize(
    'named, meant',
    [('.', 'city'), ('above', 'above/down/city'), ('city/train', 'city'), ('city/train/images', 'city')],
    ids=['above', 'far above', 'below', 'far below'],
)
def test_a_root_one_or_two_levels_off_is_told(named, meant, tmp_path, quick):
    write_split(tmp_path / meant, 'train', 1)
    cfg = config(data_set(tmp_path / named, 'train'))
    said = quick(cfg)
    assert said.startswith("refused: train_dataloader.dataset: BaseSegDataset finds no '")
    assert (
        f"'{tmp_path / meant}' holds all that it reads: --cfg-options train_dataloader.dataset.data_root="
        in said
    )
    cfg.merge_from_dict({'train_dataloader.dataset.data_root': said.rpartition('=')[2]})
    assert quick(cfg) == ''


def test_a_folder_that_lacks_a_part_is_not_proposed(tmp_path, quick):
    write_split(tmp_path / 'city', 'train', 1)
    said = quick(config(data_set(tmp_path, 'train', ann_file='train.txt')))
    assert 'docs/datasets.md' in said and said.endswith('data_root=DIR.')


def test_no_root_at_all_proposes_none(tmp_path, quick, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config(data_set(tmp_path, 'train'))
    cfg.train_dataloader.dataset.pop('data_root')
    assert quick(cfg).endswith('data_root=DIR.')


class Half:
    """Somebody's own wrapper, which takes no place."""

    def __init__(self, dataset):
        raise NotImplementedError


class Moved(Half):
    """Somebody's own wrapper, which says where the files of the data set inside are."""

    def __init__(self, dataset, data_root=None):
        raise NotImplementedError


class Passing(Half):
    """Somebody's own wrapper, which takes whatever it is given."""

    def __init__(self, dataset, **kwargs):
        raise NotImplementedError


@pytest.mark.parametrize('wrapper', [Half, Moved, Passing])
def test_only_a_wrapper_that_takes_no_root_is_refused_for_one(wrapper, small, quick, wrong, notes):
    DATASETS.register_module(name=f'Wrapper{wrapper.__name__}', module=wrapper, force=True)
    inner = dict(small.train.to_dict())
    inner.pop('data_root')
    small.cfg.train_dataloader.dataset = dict(
        type=f'Wrapper{wrapper.__name__}', dataset=inner, data_root=str(small.root)
    )
    if wrapper is Half:
        assert quick(small.cfg).startswith(
            'refused: train_dataloader.dataset.data_root: a wrapper of data sets takes no such'
        )
    else:
        assert quick(small.cfg) == '' and wrong(small.cfg) == []
        assert any(
            f'not looked at: the type {wrapper.__name__} is not known' in note for note in notes(small.cfg)
        )


def test_a_wrapper_that_nobody_knows_is_left_to_mmengine(small):
    check_paths(
        Config(
            dict(
                train_dataloader=dict(
                    dataset=dict(
                        type='WrapperOfNobody', dataset=small.train.to_dict(), data_root=str(small.root)
                    )
                )
            )
        ),
        'train',
    )
