"""The walk over the data sets of a config."""

import pytest
from mmengine.config import Config, ConfigDict

import kd_methods  # noqa: F401
from kd_methods.datasets.entries import entries_of, map_datasets, steps_in, unwrap, with_pipeline

LOAD = dict(type='LoadImageFromFile')
FLIP = dict(type='RandomFlip', prob=0.5)
INNER = dict(type='BaseSegDataset', data_root='here', pipeline=[LOAD])


def concat(*datasets: dict) -> dict:
    return dict(type='ConcatDataset', datasets=list(datasets))


@pytest.fixture
def cfg() -> Config:
    """Two loaders of training, of which the first has two wrapped data sets."""
    two = concat(INNER, dict(INNER, data_root='there'))
    repeated = dict(type='RepeatDataset', times=2, dataset=two)
    loaders = [dict(dataset=repeated), dict(dataset=INNER)]
    return Config(dict(default_scope='mmseg', train_dataloader=loaders, val_dataloader=dict(dataset=INNER)))


def test_keys_are_those_of_the_config(cfg):
    (first, second), (third,) = entries_of(cfg, 'train')
    assert [entry.key for entry in (first, second, third)] == [
        'train_dataloader.0.dataset.dataset.datasets.0',
        'train_dataloader.0.dataset.dataset.datasets.1',
        'train_dataloader.1.dataset',
    ]
    for entry in (first, second, third):  # mmengine's overrides find the data set by that key
        changed = Config(cfg.to_dict())
        changed.merge_from_dict({f'{entry.key}.data_root': 'elsewhere'})
        roots = {e.key: e.root for entries in entries_of(changed, 'train') for e in entries}
        assert roots[entry.key] == 'elsewhere' and list(roots.values()).count('elsewhere') == 1
    ((val,),) = entries_of(cfg, 'val')
    assert (val.key, val.split, val.name, val.root) == (
        'val_dataloader.dataset',
        'val',
        'BaseSegDataset',
        'here',
    )
    assert list(entries_of(cfg, 'test')) == []


def test_transforms_of_wrappers_come_last():
    dataset = dict(type='MultiImageMixDataset', dataset=INNER, pipeline=[FLIP])
    ((entry,),) = entries_of(Config(dict(default_scope='mmseg', val_dataloader=dict(dataset=dataset))), 'val')
    assert [step['type'] for step in entry.steps] == ['LoadImageFromFile', 'RandomFlip']


@pytest.mark.parametrize('kind, stray', [('ConcatDataset', True), ('NobodysDataset', False)])
def test_a_root_that_a_wrapper_does_not_take(kind, stray):
    """A wrapper that is not known may take it, and counts as a data set."""
    dataset = dict(type=kind, datasets=[INNER], data_root='elsewhere')
    ((entry,),) = entries_of(Config(dict(default_scope='mmseg', val_dataloader=dict(dataset=dataset))), 'val')
    assert entry.stray == ('val_dataloader.dataset.data_root' if stray else '')
    assert entry.root == ('here' if stray else 'elsewhere')


def test_one_inside_of_wrappers(cfg):
    dataset = cfg.train_dataloader[0].dataset
    assert unwrap(dataset) is dataset.dataset.datasets[0] and unwrap(INNER) is INNER
    assert with_pipeline(dataset) is dataset.dataset.datasets[0]
    dataset.dataset.pipeline = [FLIP]
    assert with_pipeline(dataset) is dataset.dataset
    assert with_pipeline(dict(type='A')) == dict(type='A')


def test_every_data_set_is_changed_and_the_config_is_not():
    dataset = dict(type='RepeatDataset', dataset=concat(INNER, dict(INNER, data_root='there')))
    before = ConfigDict(dataset).to_dict()
    changed = map_datasets(dataset, lambda cfg: dict(cfg, type=cfg['type'].upper()))
    assert dataset == before
    assert changed['type'] == 'REPEATDATASET' and changed['dataset']['type'] == 'CONCATDATASET'
    assert [d['type'] for d in changed['dataset']['datasets']] == ['BASESEGDATASET'] * 2
    assert map_datasets(None, dict) is None


def test_transforms_inside_of_transforms():
    choice = dict(type='RandomChoice', transforms=[[FLIP], [dict(type='RandomRotate', prob=1)]])
    foreign = dict(type='Albu', transforms=[dict(type='Blur')])
    kinds = [step['type'] for step in steps_in([LOAD, choice, foreign])]
    assert kinds == ['LoadImageFromFile', 'RandomChoice', 'RandomFlip', 'RandomRotate', 'Albu']
