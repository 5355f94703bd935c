"""Annotations in COCO's form against classes, images and themselves."""

import re
from types import SimpleNamespace

import pytest
from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS
from raw_coco import small_coco

from kd_methods.data_check.findings import STOPS
from kd_methods.data_check.look import look
from kd_methods.data_check.splits import Effort


@pytest.fixture
def coco(tmp_path) -> SimpleNamespace:
    return small_coco(tmp_path)


def test_nothing_is_wrong_with_good_annotations(coco, wrong, notes, quick):
    assert wrong(coco.cfg) == [] and notes(coco.cfg) == [] and quick(coco.cfg) == ''


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
    (
        a_list,
        'refused',
        "train.json' is not of COCO's form: expected an object with images, categories, annotations, got a "
        'list',
    ),
    (
        no_image_file,
        'refused',
        r"1 of 6 images of '.*train.json' missing: \S+train/003.jpg.*--cfg-options "
        'train_dataloader.dataset.data_prefix.img=DIR',
    ),
    (cut_image, 'refused', r'1 of .*image files cannot be read: \S+train/000.jpg \(.*runcated'),
]


@pytest.mark.parametrize('damage, before, pattern', FILES, ids=[damage.__name__ for damage, *_ in FILES])
def test_damaged_files(damage, before, pattern, coco, wrong, quick):
    damage(coco.root)
    (text,) = wrong(coco.cfg)
    assert re.search(pattern, text), text
    assert re.match(f'{before}: .*{pattern}', quick(coco.cfg)), quick(coco.cfg)


EDITS = dict(  # a change of the content, what the quick look does about it, what is said
    lists_missing=(lambda c: c.pop('categories'), 'refused', 'no list of categories'),
    no_objects_in_a_list=(
        lambda c: c['images'].append(5),
        'refused',
        r'images\[6\] is 5, expected an object',
    ),
    key_missing=(lambda c: c['annotations'][3].pop('area'), 'refused', r'annotations\[3\] has no area'),
    half_a_box=(
        lambda c: c['annotations'][3].update(bbox=[1, 2]),
        'refused',
        r'annotations\[3\].bbox is \[1, 2\], expected \[x, y',
    ),
    same_id=(lambda c: c['annotations'][3].update(id=1), 'refused', 'annotations with the same id: 1'),
    no_mask=(
        lambda c: c['annotations'][3].update(segmentation=[]),
        'refused',
        r'1 of 12 annotations of .* without a segmentation.*annotation 4 .*with_mask=False',
    ),
    no_shared_name=(
        lambda c: [x.update(name=x['name'].upper()) for x in c['categories']],
        'refused',
        "no category of '.*train.json' is a class.*the file has CAT, DOG, OWL, the classes are cat, dog, owl",
    ),
    other_name=(
        lambda c: c['categories'][1].update(name='doggy'),
        'warned',
        r'no categories of the name dog, which CocoDataset has as classes; it has doggy '
        r'besides.*metainfo=dict\(classes=',
    ),
    other_order=(
        lambda c: c['categories'].reverse(),
        'warned',
        'stand in another order, owl, dog, cat, than the classes',
    ),
    no_such_image=(
        lambda c: c['annotations'][3].update(image_id=99),
        'warned',
        r'of images that the file does not have: annotation 4 \(image_id 99\)',
    ),
    no_such_category=(
        lambda c: c['annotations'][3].update(category_id=99),
        'warned',
        r'with a category that the file does not have: annotation 4 \(category_id 99\)',
    ),
    other_size=(
        lambda c: c['images'][0].update(width=300),
        'warned',
        r'000.jpg \(20 x 30, said to be 20 x 300\)',
    ),
    no_objects=(
        lambda c: [thing.update(category_id=99) for thing in c['annotations']],
        'refused',
        'no image of .* is read',
    ),
    same_id_ignored=(
        lambda c: c['annotations'][3].update(id=1, ignore=1),
        'refused',
        'annotations with the same id: 1',
    ),
    same_image=(
        lambda c: c['images'][3].update(id=1),
        'warned',
        'has images with the same id, .* takes for one: 1. Number them',
    ),
    same_category=(
        lambda c: c['categories'][2].update(id=10),
        'warned',
        'has categories with the same id, .* takes for one: 10',
    ),
)


@pytest.mark.parametrize('name', EDITS)
def test_annotations_that_do_not_fit(name, coco, wrong, quick):
    edit, before, pattern = EDITS[name]
    coco.change(edit)
    assert any(re.search(pattern, text) for text in wrong(coco.cfg)), wrong(coco.cfg)
    assert re.match(f'{before}: .*{pattern}', quick(coco.cfg)), quick(coco.cfg)


NOTES = dict(
    more_names=(
        lambda c: c['categories'].append(dict(id=99, name='emu')),
        'categories that are no classes are left out: emu',
    ),
    small_box=(
        lambda c: c['annotations'][3].update(bbox=[1, 1, 0.5, 5]),
        'a box of no size or outside of the image, which mmdet',
    ),
    corners=(
        lambda c: c['annotations'][3].update(bbox=[20, 10, 28, 18]),
        r'annotation 4 \(bbox .*are these x1, y1, x2, y2\?',
    ),
    empty_image=(
        lambda c: c['images'].append(dict(c['images'][0], id=99)),
        '1 of 7 images without an annotation; filter_empty_gt=True',
    ),
    never=(
        lambda c: [x.update(category_id=10) for x in c['annotations']],
        '2 of 3 classes never occur: dog, owl',
    ),
)


@pytest.mark.parametrize('name', NOTES)
def test_what_is_only_to_be_known(name, coco, wrong, notes, quick):
    edit, pattern = NOTES[name]
    coco.change(edit)
    assert wrong(coco.cfg) == [] and quick(coco.cfg) == ''
    assert any(re.search(pattern, text) for text in notes(coco.cfg)), notes(coco.cfg)


def test_images_without_objects_are_doubtful(coco, quick):
    """A network learns on them that there is nothing."""
    coco.train.filter_cfg = None
    coco.change(lambda content: content['annotations'].clear())
    assert re.match("warned: .*train.json' has no object of any class", quick(coco.cfg))


def test_a_test_split_without_annotations(coco, wrong, quick):
    coco.train.test_mode = True
    coco.change(lambda content: content.pop('annotations'))
    assert wrong(coco.cfg) == [] and quick(coco.cfg) == ''


def test_classes_of_the_heads(coco, wrong, quick):
    coco.cfg.model.roi_head.bbox_head.num_classes = 2
    (text,) = wrong(coco.cfg)
    assert '--cfg-options model.roi_head.bbox_head.num_classes=3' in text
    assert quick(coco.cfg).startswith(
        'refused: model.roi_head.bbox_head.num_classes=2, but train_dataloader.dataset and '
    )
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
    (text,) = wrong(coco.cfg)
    assert (
        f'--cfg-options val_evaluator.ann_file={coco.root}/val.json' in text
        and quick(coco.cfg) == f'refused: {text}'
    )


def test_one_class_without_a_comma(coco, quick, wrong):
    """classes=('cat') is a text. mmdet reads the objects of that class, so a run is not refused."""
    for loader in (coco.cfg.train_dataloader, coco.cfg.val_dataloader):
        loader.dataset.metainfo = dict(classes='cat')
    coco.cfg.model.roi_head.bbox_head.num_classes = coco.cfg.model.roi_head.mask_head.num_classes = 1
    said = quick(coco.cfg)
    assert said.startswith("warned: train_dataloader.dataset: metainfo.classes='cat' is a text")
    assert "Write classes=('cat',)." in said and 'num_classes' not in said and len(wrong(coco.cfg)) == 2


def without_crowds(content):
    for thing in content['annotations']:
        del thing['iscrowd']


def said_of_crowds(coco, **metric):
    """Of the annotations for validation, with a metric of other arguments."""
    coco.cfg.val_evaluator.update(metric)
    return [
        finding
        for finding in look(coco.cfg, ['val'], Effort(workers=1)).findings
        if 'iscrowd' in finding.text
    ]


def test_the_metric_needs_to_know_crowds(coco, wrong, quick):
    """pycocotools ends in KeyError: 'iscrowd' at the first validation; training does without."""
    coco.change(without_crowds)
    assert wrong(coco.cfg) == [] and quick(coco.cfg) == ''
    coco.change(without_crowds, 'val')
    (finding,) = said_of_crowds(coco)
    assert quick(coco.cfg).startswith(f'refused: {finding.text}')
    assert finding.level == STOPS and re.search(
        r'val_dataloader.dataset: all 6 annotations of .*val.json. without iscrowd, which CocoMetric reads '
        r'\(val_evaluator\): '
        r'annotation 1, annotation 2, annotation 3 and 3 more. Give each iscrowd=0',
        finding.text,
    )
    coco.change(lambda content: [thing.update(iscrowd=0) for thing in content['annotations'][1:]], 'val')
    assert '1 of 6 annotations' in said_of_crowds(coco)[0].text


@pytest.mark.parametrize(
    'metric',
    [dict(ann_file=None), dict(type='VOCMetric'), dict(format_only=True), dict(ann_file='other.json')],
    ids=['converts the data', 'of VOC', 'writes results', 'reads another file'],
)
def test_other_metrics_do_not_need_crowds(coco, metric):
    coco.change(without_crowds, 'val')
    assert said_of_crowds(coco, **metric) == []


def test_objects_that_the_metric_does_not_read_need_no_crowds(coco):
    """Of other images, and of categories that are no class."""

    def edit(content):
        content['categories'].append(dict(id=99, name='emu'))
        content['annotations'] += [
            dict(content['annotations'][0], id=70, image_id=77),
            dict(content['annotations'][0], id=71),
        ]
        content['annotations'][-1]['category_id'] = 99
        for thing in content['annotations'][-2:]:
            del thing['iscrowd']

    coco.change(edit, 'val')
    assert said_of_crowds(coco) == []


def test_forms_with_a_parser_of_their_own_are_left_alone(coco, notes, quick):
    coco.train.type = 'CocoPanopticDataset'
    assert quick(coco.cfg) == '' and 'the type CocoPanopticDataset is not known here' in notes(coco.cfg)[0]


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


BOX, ID = r'\[x, y, width, height\]', 'a number or a text'
VALUES = [
    ('annotations', 'bbox', None, BOX),
    ('annotations', 'bbox', [1, 2, '3', 4], BOX),
    ('annotations', 'area', 'wide', 'a number'),
    ('annotations', 'image_id', [1], ID),
    ('annotations', 'category_id', {}, ID),
    ('annotations', 'id', None, ID),
    ('images', 'width', '64', 'a number'),
    ('images', 'height', None, 'a number'),
    ('images', 'file_name', None, 'a text'),
    ('images', 'id', [3], ID),
    ('categories', 'id', True, ID),
    ('categories', 'name', 5, 'a text'),
]


@pytest.mark.parametrize(
    'where, key, value, expected', VALUES, ids=[f'{value!r} as {key}' for _, key, value, _ in VALUES]
)
def test_values_of_another_kind_are_named(coco, quick, where, key, value, expected):
    coco.change(lambda content: content[where][2].update({key: value}))
    sentence = (
        rf"refused: train_dataloader.dataset: '.*train.json' is not of COCO's form: {where}\[2\].{key} is "
        rf'{re.escape(repr(value))}, expected {expected}'
    )
    assert re.match(sentence, quick(coco.cfg)), quick(coco.cfg)


@pytest.mark.parametrize('value', [None, {}, 5])
def test_a_list_that_is_none_is_named(coco, quick, value):
    coco.change(lambda content: content.update(annotations=value))
    assert 'no list of annotations (it has annotations, categories, images)' in quick(coco.cfg)
