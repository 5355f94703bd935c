"""Annotations in COCO's form against classes and images, as mmdet's own data set reads them."""

import re
from types import SimpleNamespace

import pytest
from mmengine.registry import DATASETS
from raw_coco import small_coco

from kd_methods.data_check.findings import EntryReport
from kd_methods.data_check.look import look
from kd_methods.data_check.scan import ScanBudget


@pytest.fixture
def coco(tmp_path) -> SimpleNamespace:
    return small_coco(tmp_path)


def seen(coco: SimpleNamespace) -> EntryReport:
    """What the check saw of the training data."""
    return look(coco.cfg, ['train'], ScanBudget(workers=1)).entries[0]


def by_mmdet(coco: SimpleNamespace) -> list[dict]:
    """What mmdet reads of each image."""
    with DATASETS.switch_scope_and_registry('mmdet') as registry:
        dataset = registry.build(dict(coco.train, pipeline=[]))
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def put_into(i, **values):
    """A change of one annotation: of 'cat', 'dog', 'owl' in turn from each image to the next but one."""
    return lambda content: content['annotations'][i].update(values)


def test_nothing_is_wrong_with_good_annotations(coco, wrong, notes, quick, capsys):
    assert wrong(coco.cfg) == [] and notes(coco.cfg) == [] and quick(coco.cfg) == ''
    assert capsys.readouterr().out == ''


def cut(root):
    (root / 'train.json').write_text((root / 'train.json').read_text()[:500])


def no_file(root):
    (root / 'train.json').unlink()
    (root / 'train.json').mkdir()


def a_list(root):
    (root / 'train.json').write_text('[1, 2]')


def no_image_file(root):
    (root / 'train/003.jpg').unlink()


def cut_image(root):
    path = root / 'train/000.jpg'
    path.write_bytes(path.read_bytes()[:-50])


FILES = [
    (cut, r"train.json' cannot be read, or is not of COCO's form \(JSONDecodeError: .*Copy or convert"),
    (no_file, "train_dataloader.dataset: ann_file='train.json' names no file"),
    (a_list, "train.json' cannot be read, or is not of COCO's form"),
    (
        no_image_file,
        r'1 of 6 listed images missing: \S+train/003.jpg.*--cfg-options '
        'train_dataloader.dataset.data_prefix.img=DIR',
    ),
    (cut_image, r'1 of .*image files cannot be read: \S+train/000.jpg \(.*runcated'),
]


@pytest.mark.parametrize('damage, pattern', FILES, ids=[damage.__name__ for damage, _ in FILES])
def test_damaged_files(damage, pattern, coco, wrong, quick):
    damage(coco.root)
    (text,) = wrong(coco.cfg)
    assert re.search(pattern, text), text
    assert re.match(f'refused: .*{pattern}', quick(coco.cfg)), quick(coco.cfg)


FORM = "train.json' cannot be read, or is not of COCO's form"
EDITS = dict(  # a change of the content, what the quick look does about it, what is said
    lists_missing=(lambda c: c.pop('categories'), 'refused', rf'{FORM} \(KeyError: categories\)'),
    key_missing=(lambda c: c['annotations'][3].pop('area'), 'refused', rf'{FORM} \(KeyError: area\)'),
    half_a_box=(put_into(3, bbox=[1, 2]), 'refused', FORM),
    no_number=(lambda c: c['images'][2].update(width='64'), 'refused', FORM),
    same_id=(put_into(3, id=1), 'refused', f'{FORM}.*not unique'),
    no_mask=(
        put_into(3, segmentation=[]),
        'refused',
        r'1 of 12 annotations of .* without a segmentation.*annotation 4 .*with_mask=False',
    ),
    no_shared_name=(
        lambda c: [x.update(name=x['name'].upper()) for x in c['categories']],
        'refused',
        "categories of '.*train.json' are CAT, DOG, OWL, the classes cat, dog, owl: no category is a class",
    ),
    other_name=(
        lambda c: c['categories'][1].update(name='doggy'),
        'warned',
        r'are cat, doggy, owl, the classes cat, dog, owl. mmdet numbers .*metainfo=dict\(classes=',
    ),
    other_order=(
        lambda c: c['categories'].reverse(),
        'warned',
        'are owl, dog, cat, the classes cat, dog, owl. mmdet numbers .* in the order of the file',
    ),
    no_such_image=(
        put_into(3, image_id=99),
        'warned',
        r'of images that the file does not have: annotation 4 \(image_id 99\)',
    ),
    no_such_category=(
        put_into(3, category_id=99),
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
        'no image of .* is read: .*filter_cfg=None',
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
    corners=(put_into(3, bbox=[20, 10, 28, 18]), r'annotation 4 \(bbox .*are these x1, y1, x2, y2\?'),
    empty_image=(
        lambda c: c['images'].append(dict(c['images'][0], id=99)),
        '1 of 7 images without an annotation',
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
    monkeypatch.setattr('kd_methods.data_check.objects.QUICK_BYTES', 100)
    assert quick(coco.cfg) == '' and len(wrong(coco.cfg)) == 1


def test_the_metric_reads_the_same_file(coco, wrong, quick):
    coco.cfg.val_evaluator.ann_file = str(coco.root / 'train.json')
    (text,) = wrong(coco.cfg)
    option = f'--cfg-options val_evaluator.ann_file={coco.root}/val.json'
    assert option in text and quick(coco.cfg) == f'refused: {text}'


def test_one_class_without_a_comma(coco, quick):
    """classes=('cat') is a text. mmdet reads the objects of that class, so a run is not refused."""
    for loader in (coco.cfg.train_dataloader, coco.cfg.val_dataloader):
        loader.dataset.metainfo = dict(classes='cat')
    coco.cfg.model.roi_head.bbox_head.num_classes = coco.cfg.model.roi_head.mask_head.num_classes = 1
    said = quick(coco.cfg)
    assert said.startswith("warned: train_dataloader.dataset: metainfo.classes='cat' is one text")
    assert "classes=('cat',)." in said and 'num_classes' not in said


def test_forms_with_a_parser_of_their_own_are_left_alone(coco, notes, quick):
    coco.train.type = 'CocoPanopticDataset'
    assert quick(coco.cfg) == '' and 'the type CocoPanopticDataset is not known here' in notes(coco.cfg)[0]


def test_annotations_that_mmdet_does_not_look_at(coco, quick):
    """Marked to be ignored: they need no area, and no fault is found in them."""
    thing = dict(id=1, image_id=1, category_id=10, ignore=1, bbox=[2, 3, 90, 80])
    coco.change(lambda content: content['annotations'].__setitem__(0, thing))
    assert quick(coco.cfg) == ''


OBJECTS = dict(
    good=lambda content: None,
    crowd=put_into(0, iscrowd=1),
    no_width=put_into(1, bbox=[2, 3, 0, 5]),
    no_area=put_into(2, area=0),
    outside=put_into(4, bbox=[40, 3, 5, 5]),
    ignored=put_into(5, ignore=1),
    other_category=lambda content: content['categories'][1].update(name='elk'),
)


@pytest.mark.parametrize('change', OBJECTS)
def test_objects_are_counted_as_mmdet_reads_them(coco, change):
    """Without what it leaves out: crowds, boxes of no size, categories that are no class."""
    coco.change(OBJECTS[change])
    if change == 'other_category':  # mmdet numbers without gaps, which is a finding of its own
        coco.train.metainfo = dict(classes=('cat', 'owl'))
    coco.train.filter_cfg = None
    report, count = seen(coco), len(coco.train.metainfo.classes)
    things = [
        [t['bbox_label'] for t in image['instances'] if not t['ignore_flag']] for image in by_mmdet(coco)
    ]
    assert report.counts.tolist() == [sum(labels.count(k) for labels in things) for k in range(count)]
    assert report.with_class.tolist() == [sum(k in labels for labels in things) for k in range(count)]
    assert report.sizes == {(20, 30): len(things)}


KEPT = dict(
    all=dict(filter_cfg=None),
    without_objects=dict(filter_cfg=dict(filter_empty_gt=True)),
    small=dict(filter_cfg=dict(min_size=20)),
    test_mode=dict(filter_cfg=dict(filter_empty_gt=True, min_size=20), test_mode=True),
    last=dict(indices=-2),
)


@pytest.mark.parametrize('name', KEPT)
def test_images_are_those_that_mmdet_reads(coco, name):
    def edit(content):
        content['images'][1]['height'] = 19
        content.update(annotations=content['annotations'][4:])

    coco.change(edit)
    coco.train.update(KEPT[name])
    assert seen(coco).images == [image['img_path'] for image in by_mmdet(coco)]


def test_images_that_are_filtered_out_need_not_be_there(coco, quick):
    coco.change(
        lambda content: content.update(annotations=[a for a in content['annotations'] if a['image_id'] != 2])
    )
    (coco.root / 'train/001.jpg').unlink()
    assert not quick(coco.cfg).startswith('refused')
    coco.train.filter_cfg = None
    assert quick(coco.cfg).startswith('refused') and '001.jpg' in quick(coco.cfg)
