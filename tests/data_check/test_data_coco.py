"""Annotations in COCO's form against classes, images and themselves."""
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import DATASETS
from raw_segmentation import put

from kd_methods.data_check.look import look
from kd_methods.data_check.splits import Effort

CLASSES = ('cat', 'dog', 'owl')


def write_coco(root: Path, split: str, count: int) -> None:
    """Images of 20 x 30 pixels, each with two objects."""
    images = [dict(id=i + 1, file_name=f'{i:03d}.jpg', height=20, width=30) for i in range(count)]
    objects = [dict(id=2 * i + j + 1, image_id=i + 1, category_id=10 * ((i + j) % 3 + 1), bbox=[2 + j, 3, 10, 8], area=80,
                    iscrowd=0, segmentation=[[2, 3, 12, 3, 12, 11]]) for i in range(count) for j in range(2)]
    categories = [dict(id=10 * (k + 1), name=name) for k, name in enumerate(CLASSES)]
    for image in images:
        put(root / split / image['file_name'], np.zeros((20, 30, 3), np.uint8))
    (root / f'{split}.json').write_text(json.dumps(dict(images=images, annotations=objects, categories=categories)))


@pytest.fixture
def coco(tmp_path) -> SimpleNamespace:
    """6 images with 12 objects: `.root`, `.cfg`, `.train`, and `.change(function)`, which edits the JSON file."""
    write_coco(tmp_path, 'train', 6)
    write_coco(tmp_path, 'val', 3)

    def of(split: str) -> dict:
        load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='PackDetInputs')]
        return dict(batch_size=2, num_workers=0, dataset=dict(
            type='CocoDataset', data_root=str(tmp_path), ann_file=f'{split}.json', data_prefix=dict(img=split), pipeline=load,
            metainfo=dict(classes=CLASSES), filter_cfg=dict(filter_empty_gt=True)))

    def change(edit) -> None:
        content = json.loads((tmp_path / 'train.json').read_text())
        edit(content)
        (tmp_path / 'train.json').write_text(json.dumps(content))

    cfg = Config(dict(
        default_scope='mmdet', model=dict(type='MaskRCNN', roi_head=dict(
            bbox_head=dict(type='Shared2FCBBoxHead', num_classes=3), mask_head=dict(type='FCNMaskHead', num_classes=3))),
        train_dataloader=of('train'), val_dataloader=of('val'),
        val_evaluator=dict(type='CocoMetric', ann_file=str(tmp_path / 'val.json'))))
    return SimpleNamespace(root=tmp_path, cfg=cfg, train=cfg.train_dataloader.dataset, change=change)


def test_nothing_is_wrong_with_good_annotations(coco, wrong, notes, quick):
    assert wrong(coco.cfg) == [] and notes(coco.cfg) == [] and quick(coco.cfg) == ''


def test_objects_are_counted_as_mmdet_reads_them(coco):
    """Without what it leaves out: crowds, boxes of no size, categories that are no class."""
    def edit(content):
        content['annotations'][0]['iscrowd'] = 1
        content['annotations'][1]['bbox'] = [2, 3, 0, 5]
        content['annotations'][2]['area'] = 0
        content['annotations'][4]['bbox'] = [40, 3, 5, 5]

    coco.change(edit)
    coco.train.metainfo = dict(classes=('cat', 'owl'))
    split = look(coco.cfg, ['train'], Effort(workers=1)).splits[0]
    with DATASETS.switch_scope_and_registry('mmdet') as registry:
        dataset = registry.build(dict(coco.train, pipeline=[], filter_cfg=None))
    things = [[t['bbox_label'] for t in dataset.get_data_info(i)['instances'] if not t['ignore_flag']] for i in range(6)]
    assert split.counts.tolist() == [sum(labels.count(k) for labels in things) for k in range(2)]
    assert split.with_class.tolist() == [sum(k in labels for labels in things) for k in range(2)]
    assert split.sizes == {(20, 30): 6} and split.labels == 6


def cut(root):
    (root / 'train.json').write_text((root / 'train.json').read_text()[:500])


def no_file(root):
    (root / 'train.json').unlink()
    (root / 'train.json').mkdir()


def no_json(root):
    (root / 'train.json').write_text('{"images": [}, "annotations": []}')


def a_list(root):
    (root / 'train.json').write_text('[1, 2]')


def no_image_file(root):
    (root / 'train/003.jpg').unlink()


def cut_image(root):
    path = root / 'train/000.jpg'
    path.write_bytes(path.read_bytes()[:-50])


FILES = [
    (cut, 'refused', r"train.json' is cut off: .* at character \d+ of 500. Copy or write it again"),
    (no_file, 'refused', "train_dataloader.dataset: ann_file='train.json' names no file"),
    (no_json, 'refused', "train.json' is no valid JSON: .* at character 12 of 33"),
    (a_list, 'refused', "train.json' is not of COCO's form: expected an object with images, categories, annotations, got a list"),
    (no_image_file, 'refused', r"1 of 6 images of '.*train.json' missing: \S+train/003.jpg.*--cfg-options "
     'train_dataloader.dataset.data_prefix.img=DIR'),
    (cut_image, 'refused', r'1 of .*image files cannot be read: \S+train/000.jpg \(.*runcated'),
]


@pytest.mark.parametrize('damage, before, pattern', FILES, ids=[damage.__name__ for damage, *_ in FILES])
def test_damaged_files(damage, before, pattern, coco, wrong, quick):
    damage(coco.root)
    text, = wrong(coco.cfg)
    assert re.search(pattern, text), text
    assert re.match(f'{before}: .*{pattern}', quick(coco.cfg)), quick(coco.cfg)


EDITS = dict(  # a change of the content, what the quick look does about it, what is said
    lists_missing=(lambda c: c.pop('categories'), 'refused', 'no list of categories'),
    no_objects_in_a_list=(lambda c: c['images'].append(5), 'refused', r'images\[6\] is 5, expected an object'),
    key_missing=(lambda c: c['annotations'][3].pop('area'), 'refused', r'annotations\[3\] has no area'),
    half_a_box=(lambda c: c['annotations'][3].update(bbox=[1, 2]), 'refused',
                r'annotations\[3\].bbox is \[1, 2\], expected \[x, y'),
    same_id=(lambda c: c['annotations'][3].update(id=1), 'refused', 'annotations with the same id: 1'),
    no_mask=(lambda c: c['annotations'][3].update(segmentation=[]), 'refused',
             r'1 of 12 annotations of .* without a segmentation.*annotation 4 .*with_mask=False'),
    no_shared_name=(lambda c: [x.update(name=x['name'].upper()) for x in c['categories']], 'refused',
                    "no category of '.*train.json' is a class.*the file has CAT, DOG, OWL, the classes are cat, dog, owl"),
    other_name=(lambda c: c['categories'][1].update(name='doggy'), 'warned',
                r'no categories of the name dog, which CocoDataset has as classes; it has doggy besides.*metainfo=dict\(classes='),
    other_order=(lambda c: c['categories'].reverse(), 'warned', 'stand in another order, owl, dog, cat, than the classes'),
    no_such_image=(lambda c: c['annotations'][3].update(image_id=99), 'warned',
                   r'of images that the file does not have: annotation 4 \(image_id 99\)'),
    no_such_category=(lambda c: c['annotations'][3].update(category_id=99), 'warned',
                      r'with a category that the file does not have: annotation 4 \(category_id 99\)'),
    other_size=(lambda c: c['images'][0].update(width=300), 'warned', r'000.jpg \(20 x 30, said to be 20 x 300\)'),
    no_objects=(lambda c: c['annotations'].clear(), 'warned', "train.json' has no object of any class"),
)


@pytest.mark.parametrize('name', EDITS)
def test_annotations_that_do_not_fit(name, coco, wrong, quick):
    edit, before, pattern = EDITS[name]
    coco.change(edit)
    assert any(re.search(pattern, text) for text in wrong(coco.cfg)), wrong(coco.cfg)
    assert re.match(f'{before}: .*{pattern}', quick(coco.cfg)), quick(coco.cfg)


NOTES = dict(
    more_names=(lambda c: c['categories'].append(dict(id=99, name='emu')), 'categories that are no classes are left out: emu'),
    small_box=(lambda c: c['annotations'][3].update(bbox=[1, 1, 0.5, 5]), 'a box of no size or outside of the image, which mmdet'),
    corners=(lambda c: c['annotations'][3].update(bbox=[20, 10, 28, 18]), r'annotation 4 \(bbox .*are these x1, y1, x2, y2\?'),
    empty_image=(lambda c: c['images'].append(dict(c['images'][0], id=99)),
                 '1 of 7 images without an annotation; filter_empty_gt=True'),
    never=(lambda c: [x.update(category_id=10) for x in c['annotations']], '2 of 3 classes never occur: dog, owl'),
)


@pytest.mark.parametrize('name', NOTES)
def test_what_is_only_to_be_known(name, coco, wrong, notes, quick):
    edit, pattern = NOTES[name]
    coco.change(edit)
    assert wrong(coco.cfg) == [] and quick(coco.cfg) == ''
    assert any(re.search(pattern, text) for text in notes(coco.cfg)), notes(coco.cfg)


def test_a_test_split_without_annotations(coco, wrong, quick):
    coco.change(lambda content: content.pop('annotations'))
    assert wrong(coco.cfg) == [] and quick(coco.cfg) == ''


def test_classes_of_the_heads(coco, wrong, quick):
    coco.cfg.model.roi_head.bbox_head.num_classes = 2
    text, = wrong(coco.cfg)
    assert '--cfg-options model.roi_head.bbox_head.num_classes=3' in text
    assert quick(coco.cfg).startswith('refused: model.roi_head.bbox_head.num_classes=2, but train_dataloader.dataset and ')
    coco.cfg.model.roi_head.bbox_head.num_classes = 80
    assert quick(coco.cfg).startswith('warned: model.roi_head.bbox_head.num_classes=80')


def test_ten_names_of_eighty_are_enough(coco, quick):
    """CocoDataset's own names: mmdet numbers those that the file has, and a head of that many learns them."""
    for loader in (coco.cfg.train_dataloader, coco.cfg.val_dataloader):
        del loader.dataset['metainfo']
    coco.change(lambda content: content['categories'].pop())
    coco.cfg.model.roi_head.bbox_head.num_classes = 3
    assert quick(coco.cfg).startswith('warned: ')


def test_a_large_file_is_left_to_the_whole_check(coco, wrong, quick, monkeypatch):
    cut(coco.root)
    monkeypatch.setattr('kd_methods.data_check.coco.QUICK_BYTES', 100)
    assert quick(coco.cfg) == '' and len(wrong(coco.cfg)) == 1


def test_the_metric_reads_the_same_file(coco, wrong, quick):
    coco.cfg.val_evaluator.ann_file = str(coco.root / 'train.json')
    text, = wrong(coco.cfg)
    assert f'--cfg-options val_evaluator.ann_file={coco.root}/val.json' in text and quick(coco.cfg) == f'refused: {text}'


def test_forms_with_a_parser_of_their_own_are_left_alone(coco, notes, quick):
    coco.train.type = 'CocoPanopticDataset'
    assert quick(coco.cfg) == '' and 'the type CocoPanopticDataset is not known here' in notes(coco.cfg)[0]


def of_another_class(coco):
    coco.train.metainfo = dict(classes=('dog', 'owl'))
    coco.change(lambda content: [thing.update(category_id=10) for thing in content['annotations'] if thing['image_id'] == 2])


def without_objects(coco):
    coco.change(lambda content: content.update(annotations=[a for a in content['annotations'] if a['image_id'] != 2]))


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


@DATASETS.register_module()
class CocoWithRepeatedIds(CocoDataset):
    """mmdet has such: of others, ids need not be unique."""
    ANN_ID_UNIQUE = False


def test_annotations_that_mmdet_does_not_look_at(coco, wrong, quick):
    """Marked to be ignored, or of images that are not listed; and repeated ids where the class allows them."""
    def edit(content):
        content['annotations'][0] = dict(id=1, image_id=1, category_id=10, ignore=1, bbox=[2, 3, 10, 8])
        content['annotations'].append(dict(id=99, image_id=77, category_id=10))

    coco.change(edit)
    assert quick(coco.cfg).startswith('warned') and '(image_id 77)' in quick(coco.cfg)
    assert len(wrong(coco.cfg)) == 1
    coco.change(lambda content: [a.update(id=5) for a in content['annotations'][5:7]])
    assert 'refused' in quick(coco.cfg) and 'the same id: 5' in quick(coco.cfg)
    coco.train.type = 'CocoWithRepeatedIds'
    assert 'refused' not in quick(coco.cfg)


@pytest.mark.parametrize('key, value, said', [('bbox', None, 'bbox is None'), ('bbox', [1, 2, '3', 4], "bbox is .1, 2, '3', 4."),
                                              ('area', 'wide', "area is 'wide', expected a number")], ids=['none', 'text', 'area'])
def test_values_of_another_kind_are_named(coco, quick, key, value, said):
    coco.change(lambda content: content['annotations'][3].update({key: value}))
    sentence = fr"refused: train_dataloader.dataset: '.*train.json' is not of COCO's form: annotations.3..{said}"
    assert re.search(sentence, quick(coco.cfg))
