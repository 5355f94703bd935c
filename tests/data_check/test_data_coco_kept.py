"""Which images and objects of COCO's form are read: those that mmdet's own data set reads."""

import re
from types import SimpleNamespace

import pytest
from mmengine.registry import DATASETS
from raw_coco import CLASSES, small_coco

from kd_methods.data_check.look import look
from kd_methods.data_check.splits import Effort, Split


@pytest.fixture
def coco(tmp_path) -> SimpleNamespace:
    return small_coco(tmp_path)


def seen(coco: SimpleNamespace) -> Split:
    """What the check saw of the training data."""
    return look(coco.cfg, ['train'], Effort(workers=1)).splits[0]


def by_mmdet(coco: SimpleNamespace) -> list[dict]:
    """What mmdet reads of each image."""
    with DATASETS.switch_scope_and_registry('mmdet') as registry:
        dataset = registry.build(dict(coco.train, pipeline=[]))
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def put_into(i, **values):
    """A change of one annotation: of 'cat', 'dog', 'owl' in turn from each image to the next but one."""
    return lambda content: content['annotations'][i].update(values)


OBJECTS = dict(
    good=lambda content: None,
    crowd=put_into(0, iscrowd=1),
    no_width=put_into(1, bbox=[2, 3, 0, 5]),
    no_height=put_into(1, bbox=[2, 3, 5, 0.5]),
    no_area=put_into(2, area=0),
    outside=put_into(4, bbox=[40, 3, 5, 5]),
    above=put_into(4, bbox=[4, -9, 5, 9]),
    ignored=put_into(5, ignore=1),
    other_category=lambda content: content['categories'][1].update(name='elk'),
    same_image_id=lambda content: content['images'][4].update(id=1),
)


@pytest.mark.parametrize('change', OBJECTS)
def test_objects_are_counted_as_mmdet_reads_them(coco, change):
    """Without what it leaves out: crowds, boxes of no size, categories that are no class."""
    coco.change(OBJECTS[change])
    if change == 'other_category':  # mmdet numbers without gaps, which is a finding of its own
        coco.train.metainfo = dict(classes=('cat', 'owl'))
    coco.train.filter_cfg = None
    split, count = seen(coco), len(coco.train.metainfo.classes)
    things = [
        [t['bbox_label'] for t in image['instances'] if not t['ignore_flag']] for image in by_mmdet(coco)
    ]
    assert split.counts.tolist() == [sum(labels.count(k) for labels in things) for k in range(count)]
    assert split.with_class.tolist() == [sum(k in labels for labels in things) for k in range(count)]
    assert split.sizes == {(20, 30): len(things)}


def lower(content):
    content['images'][1]['height'] = 19


KEPT = dict(
    all=dict(filter_cfg=None),
    without_objects=dict(filter_cfg=dict(filter_empty_gt=True)),
    exact_size=dict(filter_cfg=dict(min_size=20)),
    small=dict(filter_cfg=dict(min_size=19)),
    both=dict(filter_cfg=dict(filter_empty_gt=True, min_size=20)),
    test_mode=dict(filter_cfg=dict(filter_empty_gt=True, min_size=20), test_mode=True),
    first=dict(indices=2),
    last=dict(indices=-2),
    named=dict(filter_cfg=dict(min_size=20), indices=[0, 3]),
)


@pytest.mark.parametrize('name', KEPT)
def test_images_are_those_that_mmdet_reads(coco, name):
    coco.change(lambda content: (lower(content), content.update(annotations=content['annotations'][4:])))
    coco.train.update(KEPT[name])
    assert seen(coco).images == [image['img_path'] for image in by_mmdet(coco)]


def none_of_that_size(coco):
    coco.train.filter_cfg = dict(min_size=50)


def none_in_a_test(coco):
    coco.train.test_mode = True
    coco.change(lambda content: content['images'].clear())


def none_annotated(coco):
    coco.change(lambda content: content['annotations'].clear())


def no_annotations(coco):
    coco.change(lambda content: content.pop('annotations'))


def categories_by_text(coco):
    coco.change(
        lambda content: [category.update(id=str(category['id'])) for category in content['categories']]
    )
    coco.train.indices = [0, 2]


def no_indices(coco):
    coco.train.indices = []


def nothing_listed(coco):
    coco.change(lambda content: content['images'].clear())


WANT = 'for want of objects of a class. Give the annotations the ids.*train_dataloader.dataset.filter_cfg.filter_empty_gt=False'
EMPTY = {
    none_of_that_size: 'min_size=50, but their shorter sides have 20 pixels at most.*--cfg-options '
    '.*filter_cfg.min_size=20',
    none_in_a_test: 'it lists none',
    none_annotated: WANT,
    no_annotations: WANT,
    categories_by_text: WANT,
    no_indices: r'indices=\[\] takes none. Leave it out',
    nothing_listed: 'it lists none. Convert the annotations again',
}


@pytest.mark.parametrize('change', EMPTY, ids=[change.__name__ for change in EMPTY])
def test_no_image_to_read_stops_a_run(coco, change, quick, wrong):
    """mmdet: need at least one array to concatenate."""
    change(coco)
    with pytest.raises((ValueError, IndexError)):
        by_mmdet(coco)
    pattern = f"train_dataloader.dataset: no image of '.*train.json' is read: .*{EMPTY[change]}"
    assert re.match(f'refused: {pattern}', quick(coco.cfg)), quick(coco.cfg)
    assert any(re.match(pattern, text) for text in wrong(coco.cfg)), wrong(coco.cfg)


def of_another_class(coco):
    coco.train.metainfo = dict(classes=('dog', 'owl'))
    coco.change(
        lambda content: [
            thing.update(category_id=10) for thing in content['annotations'] if thing['image_id'] == 2
        ]
    )


def without_objects(coco):
    coco.change(
        lambda content: content.update(annotations=[a for a in content['annotations'] if a['image_id'] != 2])
    )


def too_small(coco):
    coco.train.filter_cfg = dict(min_size=15)
    coco.change(lambda content: content['images'][1].update(height=10))


def beyond_the_indices(coco):
    coco.train.indices = [0, 2, 3]


@pytest.mark.parametrize('change', [of_another_class, without_objects, too_small, beyond_the_indices])
def test_images_that_are_filtered_out_need_not_be_there(coco, quick, change):
    change(coco)
    assert 'missing' not in quick(coco.cfg) and 'not there' not in quick(coco.cfg)
    (coco.root / 'train/001.jpg').unlink()
    assert not quick(coco.cfg).startswith('refused')
    coco.train.update(filter_cfg=None, indices=None, metainfo=dict(classes=CLASSES))
    assert quick(coco.cfg).startswith('refused') and '001.jpg' in quick(coco.cfg)
