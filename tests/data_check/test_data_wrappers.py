"""Wrappers of data sets: those that are missing around a transform, and those that refuse what is in them."""

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from kd_methods.data_check.wrappers import judge_wrappers

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
MOSAIC = dict(type='RandomMosaic', prob=1.0, img_scale=(64, 64))
COCO = dict(
    type='CocoDataset', data_root='data/nowhere', ann_file='train.json', data_prefix=dict(img='train')
)


def judged(dataset: dict, scope: str = 'mmseg') -> str:
    """What is said of a data set, whose files need not be there."""
    cfg = Config(dict(default_scope=scope, train_dataloader=dict(dataset=dataset)))
    return ' '.join(finding.text for finding in judge_wrappers(cfg, 'train'))


def plain(*steps: dict, **keys) -> dict:
    """A data set of mmseg, of two classes."""
    metainfo = dict(classes=('road', 'sign'), palette=[[0, 0, 0], [9, 9, 9]])
    return dict(
        dict(type='BaseSegDataset', data_root='data/nowhere', metainfo=metainfo, pipeline=[*LOAD, *steps]),
        **keys,
    )


def concat(*datasets: dict, **keys) -> dict:
    return dict(type='ConcatDataset', datasets=list(datasets), **keys)


def mixed(*steps: dict, inner: dict | None = None, **keys) -> dict:
    return dict(dict(type='MultiImageMixDataset', dataset=inner or plain(), pipeline=list(steps)), **keys)


def test_a_mosaic_without_its_wrapper_is_refused_by_every_tool(small, wrong, quick):
    small.train.pipeline.insert(2, MOSAIC)
    text = 'train_dataloader.dataset.pipeline: RandomMosaic mixes several images'
    assert quick(small.cfg).startswith(f'refused: {text}')
    (found,) = wrong(small.cfg)
    assert found.startswith(text) and "type='mmseg.MultiImageMixDataset'" in found


@pytest.mark.parametrize(
    'dataset',
    [
        plain(MOSAIC),
        concat(plain(), plain(MOSAIC)),
        dict(type='RepeatDataset', times=2, dataset=plain(MOSAIC)),
        mixed(inner=plain(MOSAIC)),
        plain(dict(type='RandomApply', transforms=[MOSAIC])),
        plain(dict(type='RandomChoice', transforms=[[MOSAIC], LOAD])),
    ],
    ids=['plain', 'concatenated', 'repeated', 'inside of the wrapper', 'by chance', 'a choice'],
)
def test_a_mosaic_is_found_wherever_its_images_are_missing(dataset):
    assert 'RandomMosaic mixes several images of a data set, which only' in judged(dataset)


@pytest.mark.parametrize('step', ['Mosaic', 'MixUp', 'CopyPaste'])
def test_members_of_mmdet(step):
    bare = dict(COCO, pipeline=[*LOAD, dict(type=step)])
    assert f'{step} mixes several images' in judged(bare, 'mmdet')
    assert judged(mixed(dict(type=step), inner=COCO), 'mmdet') == ''


def test_transforms_that_keep_earlier_images_need_no_wrapper():
    steps = [dict(type='CachedMosaic'), dict(type='CachedMixUp')]
    assert judged(dict(COCO, pipeline=[*LOAD, *steps]), 'mmdet') == ''


def test_a_wrapper_hands_images_to_the_steps_of_its_own_package_and_pipeline():
    assert judged(mixed(MOSAIC)) == ''
    assert "only 'mmdet.MultiImageMixDataset' hands to it" in judged(mixed(dict(type='mmdet.Mosaic')))
    inside = judged(mixed(dict(type='RandomApply', transforms=[MOSAIC])))
    assert inside.endswith('Take it out of RandomApply.')


def test_a_data_set_with_a_reading_of_its_own_may_hand_over_images():
    from mmseg.datasets import BaseSegDataset

    class Mixing(BaseSegDataset):
        def prepare_data(self, idx):
            return self.pipeline(dict(self.get_data_info(idx), mix_results=[]))

    DATASETS.register_module(module=Mixing)
    try:
        assert judged(plain(MOSAIC, type='Mixing')) == ''
    finally:
        DATASETS.module_dict.pop('Mixing')


def test_the_entry_that_differs_is_named():
    other = plain(metainfo=dict(classes=('road', 'sign'), palette=[[0, 0, 0], [9, 9, 8]]))
    found = judged(concat(plain(), dict(type='RepeatDataset', times=2, dataset=other)))
    key = 'train_dataloader.dataset'
    assert f"{key}.datasets.1 has another 'palette' than {key}.datasets.0: number 1 is [9, 9, 8]" in found
    assert f"{key}.ignore_keys=['palette']" in found and "'classes'" not in found
    assert judged(concat(plain(), other, ignore_keys='palette')) == ''


@pytest.mark.parametrize('key', ['classes', 'other', 'reduce_zero_label'])
def test_any_entry_may_differ(key):
    values = dict(classes=('road', 'pole'), other=3)
    other = plain(reduce_zero_label=True) if key == 'reduce_zero_label' else plain()
    other['metainfo'] = {**other['metainfo'], **({key: values[key]} if key in values else {})}
    found = judged(concat(plain(), other))
    assert f'another {key!r}' in found
    assert ('ignore_keys' in found) == (key != 'classes')


def test_what_is_said_of_data_sets_is_what_mmengine_does():
    """A data set that is refused here cannot be built, and the reverse."""
    folder = dict(data_root=None, data_prefix=dict(img_path=None, seg_map_path=None), lazy_init=True)
    one, same, other = plain(**folder), plain(**folder), plain(reduce_zero_label=True, **folder)
    for wrapped in (
        concat(one, same),
        concat(one, other),
        concat(one, other, ignore_keys=['reduce_zero_label']),
    ):
        with DefaultScope.overwrite_default_scope('mmseg'):
            try:
                built = DATASETS.build(dict(wrapped, lazy_init=True)) is not None
            except ValueError:
                built = False
        assert built == (judged(wrapped) == '')


def test_balancing_classes_needs_a_data_set_that_names_them():
    balanced = dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=plain())
    assert 'ClassBalancedDataset needs get_cat_ids, which BaseSegDataset does not have' in judged(balanced)
    assert judged(dict(balanced, dataset=COCO), 'mmdet') == ''
