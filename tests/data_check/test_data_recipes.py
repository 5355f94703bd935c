"""Where missing files come from, and what writes wrong ones anew."""

import inspect
import re

import numpy as np
import pytest
from mmengine.config import Config
from raw_segmentation import LOAD, config, put
from toys import ROOT

from kd_methods.data_check.paths import check_paths
from kd_methods.data_check.recipes import PAGE, RECIPES, recipe_of
from kd_methods.datasets.entries import entries_of


@pytest.mark.parametrize('name', RECIPES)
def test_every_command_and_section_is_there(name):
    from mmengine.registry import DATASETS

    from kd_methods.datasets.entries import owners, resolve

    cure = RECIPES[name]
    assert f'\n## {cure.section}\n' in (ROOT / PAGE).read_text()
    if cure.command:
        assert (ROOT / cure.command.split()[1]).is_file()
    package, cls = name.split('.')
    assert owners(resolve(cls, DATASETS, package if package != 'kd_methods' else None))[0] == name


@pytest.mark.parametrize(
    'kind, root, there, keys, cure',
    [
        (
            'mmseg.CityscapesDataset',
            'cityscapes',
            [],
            {},
            r'docs/datasets.md \(Cityscapes\) says what to download',
        ),
        (
            'mmseg.CityscapesDataset',
            'cityscapes',
            ['leftImg8bit'],
            dict(data_prefix=dict(img_path='leftImg8bit', seg_map_path='gtFine')),
            r'docs/datasets.md \(Cityscapes\) says what to download',
        ),
        ('CityscapesDisparityDataset', 'cityscapes', [], {}, r'docs/datasets.md \(Cityscapes\)'),
        (
            'mmseg.PascalVOCDataset',
            'VOCdevkit/VOC2012',
            ['lists'],
            dict(ann_file='lists/aug.txt'),
            r'Write it first: python tools/data/voc_aug.py \S*VOCdevkit SBD \(docs/datasets.md, Pascal VOC '
            r'2012 \+ Aug\)',
        ),
        (
            'mmseg.PascalVOCDataset',
            'VOCdevkit/VOC2012',
            ['lists'],
            dict(ann_file='lists/train.txt'),
            r'docs/datasets.md \(Pascal VOC 2012 \+ Aug\) says what to download',
        ),
        (
            'NYUv2Dataset13',
            'nyuv2',
            ['images'],
            dict(data_prefix=dict(img_path='images', seg_map_path='labels13/train')),
            'Write it first: python tools/data/nyuv2.py --help',
        ),
        (
            'mmseg.COCOStuffDataset',
            'coco_stuff10k',
            ['x'],
            dict(data_prefix=dict(img_path='images'), reduce_zero_label=True),
            r'Write it first: python tools/data/coco_stuff10k.py \S+coco_stuff10k ',
        ),
        (
            'mmseg.COCOStuffDataset',
            'coco_stuff164k',
            ['x'],
            dict(data_prefix=dict(img_path='images')),
            'docs/datasets.md says how to prepare each data set',
        ),
        ('mmdet.CocoDataset', 'coco', [], {}, r'docs/datasets.md \(COCO 2017\)'),
        (
            'mmdet.CocoDataset',
            'scenes_coco',
            [],
            {},
            r'Write the scenes first: python tools/data/make_scenes.py --out \S+ --format coco',
        ),
        (
            'mmseg.CityscapesDataset',
            'scenes_cityscapes',
            [],
            {},
            r'make_scenes.py --out \S+ --format cityscapes',
        ),
        (
            'mmseg.PascalVOCDataset',
            'scenes_voc/VOC2012',
            [],
            {},
            r'make_scenes.py --out \S+/scenes_voc --format voc',
        ),
        (
            'mmseg.CityscapesDataset',
            'scenes_of_my_city',
            [],
            {},
            r'docs/datasets.md \(Cityscapes\) says what to download',
        ),
        ('SceneDataset', 'rgbd', [], {}, r'make_scenes.py --out \S+ --depth --camouflage 0.5'),
        ('mmseg.LoveDADataset', 'x', [], {}, 'docs/datasets.md says how to prepare each data set'),
        ('NobodysDataset', 'x', [], {}, 'docs/datasets.md says how to prepare each data set'),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else '',
)
def test_a_missing_place_names_its_source(kind, root, there, keys, cure, tmp_path):
    for folder in there:
        (tmp_path / root / folder).mkdir(parents=True)
    dataset = dict(type=kind, data_root=str(tmp_path / root), pipeline=[dict(type='LoadAnnotations')], **keys)
    with pytest.raises(FileNotFoundError) as caught:
        check_paths(Config(dict(train_dataloader=dict(dataset=dataset))), 'train')
    text = str(caught.value)
    assert re.search(cure, text), text
    assert text.startswith(f'train_dataloader.dataset: {kind} finds no ')
    assert text.endswith('train_dataloader.dataset.data_root=DIR.')


@pytest.mark.parametrize(
    'kind, cure',
    [
        ('mmseg.NightDrivingDataset', None),
        ('mmseg.DarkZurichDataset', None),
        ('mmdet.CityscapesDataset', None),
        ('mmdet.LVISV05Dataset', None),
        ('CityscapesDisparityDataset', 'Cityscapes'),
        ('NYUv2Dataset13', 'NYUv2'),
        ('CityOfMine', 'Cityscapes'),
    ],
)
def test_what_is_derived_from_a_data_set_may_be_another(kind, cure):
    """In mmseg and mmdet it always is."""
    from mmengine.registry import DATASETS
    from mmseg.datasets import CityscapesDataset

    mine = type('CityOfMine', (CityscapesDataset,), dict(__module__='mine'))
    DATASETS.register_module(name='CityOfMine', module=mine, force=True)
    (entry,) = next(entries_of(Config(dict(train_dataloader=dict(dataset=dict(type=kind)))), 'train'))
    assert entry.cls is not None and getattr(recipe_of(entry), 'section', None) == cure


def coarse(
    root, endings, suffix='_gtCoarse_labelTrainIds.png', folder='gtCoarse', kind='CityscapesDataset', value=0
):
    """A config of Cityscapes with coarse annotations, files with these endings."""
    name = 'train/a/a_000000_000000'
    put(root / f'leftImg8bit/{name}_leftImg8bit.png', np.zeros((8, 12, 3), np.uint8))
    for ending in endings:
        shape = (8, 12, 3) if ending.endswith(('color.png', 'TrainIds.png')) and value else (8, 12)
        put(root / f'{folder}/{name}{ending}', np.full(shape, value, np.uint8))
    keys = dict(seg_map_suffix=suffix) if suffix else {}
    return config(
        dict(
            type=kind,
            data_root=str(root),
            pipeline=LOAD,
            **keys,
            data_prefix=dict(img_path='leftImg8bit/train', seg_map_path=f'{folder}/train'),
        ),
        classes=19,
    )


COMMAND = 'python tools/data/cityscapes.py {root} --gt-dir gtCoarse'
SET = '--cfg-options train_dataloader.dataset.seg_map_suffix=_gtCoarse_labelTrainIds.png'


@pytest.mark.parametrize(
    'endings, suffix, cure',
    [
        (
            ['_gtCoarse_labelIds.png'],
            '_gtCoarse_labelTrainIds.png',
            '*_labelIds.png is there: ' + COMMAND + ' makes labels of it.',
        ),
        (
            ['_gtCoarse_labelIds.png'],
            '',
            '*_labelIds.png is there: ' + COMMAND + f' makes labels of it. Set {SET}',
        ),
        (
            ['_gtCoarse_labelIds.png', '_gtCoarse_labelTrainIds.png'],
            '',
            f'*_gtCoarse_labelTrainIds.png is there: {SET}',
        ),
        (
            ['_gtCoarse_labelTrainIds.png'],
            '_gtCoarse_labelTrainId.png',
            f'*_gtCoarse_labelTrainIds.png is there: {SET}',
        ),
    ],
    ids=['to convert', 'to convert and name', 'to name', 'misspelt'],
)
def test_coarse_annotations_of_cityscapes(endings, suffix, cure, tmp_path, quick):
    said = quick(coarse(tmp_path, endings, suffix))
    assert cure.format(root=tmp_path) in said


@pytest.mark.parametrize(
    'endings, suffix, cure',
    [
        (
            ['_gtCoarse_labelTrainIds.png'],
            '_gtCoarse_labelTrainIds.png',
            COMMAND + ' --overwrite writes them anew.',
        ),
        (['_gtCoarse_color.png'], '_gtCoarse_color.png', f'Set {SET}; {COMMAND} writes them.'),
    ],
    ids=['under their name', 'under another'],
)
def test_colours_in_place_of_coarse_annotations(endings, suffix, cure, tmp_path, quick):
    assert cure.format(root=tmp_path) in quick(coarse(tmp_path, endings, suffix, value=9))


def test_labels_of_another_city_are_not_made_by_the_converter(tmp_path, quick):
    said = quick(coarse(tmp_path, ['_gtCoarse_labelIds.png'], folder='gt', kind='NightDrivingDataset'))
    assert (
        'That folder has other names, such as a_000000_000000_gtCoarse_labelIds.png' in said
        and 'cityscapes.py' not in said
    )


@pytest.mark.parametrize(
    'kind, root, labels, keys, cure',
    [
        (
            'CityscapesDataset',
            'city',
            'gtFine',
            {},
            'python tools/data/cityscapes.py {root} --overwrite writes them anew',
        ),
        (
            'PascalVOCDataset',
            'VOCdevkit/VOC2012',
            'SegmentationClass',
            dict(ann_file='list.txt'),
            'It is part of the download: unpack that again (docs/datasets.md, Pascal VOC 2012 + Aug)',
        ),
        (
            'PascalVOCDataset',
            'VOCdevkit/VOC2012',
            'SegmentationClassAug',
            dict(ann_file='list.txt'),
            'python tools/data/voc_aug.py {above} SBD --overwrite writes them anew',
        ),
        (
            'ADE20KDataset',
            'ade',
            'annotations',
            {},
            'It is part of the download: unpack that again (docs/datasets.md, ADE20K)',
        ),
        (
            'COCOStuffDataset',
            'stuff',
            'annotations/train2014',
            dict(reduce_zero_label=True),
            'python tools/data/coco_stuff10k.py {root} --overwrite writes them anew',
        ),
        ('COCOStuffDataset', 'stuff', 'annotations', {}, 'the number of a class in each pixel'),
        (
            'NYUv2Dataset',
            'nyu',
            'labels40',
            {},
            'python tools/data/nyuv2.py --help says how to write them anew, into an empty folder',
        ),
        (
            'CamVidDataset',
            'camvid',
            'trainannot',
            dict(ann_file='list.txt'),
            'python tools/data/camvid.py DOWNLOADS --out {root} --overwrite writes them anew',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else '',
)
def test_colours_in_place_of_labels_name_what_writes_them(kind, root, labels, keys, cure, tmp_path, wrong):
    """The second of two files, since some data sets refuse a first one by themselves."""
    from mmengine.registry import DATASETS

    root = tmp_path / root
    cfg = config(
        dict(
            type=kind,
            data_root=str(root),
            pipeline=LOAD,
            data_prefix=dict(img_path='images', seg_map_path=labels),
            **keys,
        ),
        classes=None,
    )
    (tmp_path / 'images').mkdir()
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        cls = registry.get(kind)
    default = {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}
    images, suffix = default.get('img_suffix', '.jpg'), default.get('seg_map_suffix', '.png')
    for i, shape in enumerate([(8, 12), (8, 12, 3)]):
        put(root / f'images/{i}{images}', np.zeros((8, 12, 3), np.uint8))
        put(root / f'{labels}/{i}{suffix}', np.zeros(shape, np.uint8))
    (root / 'list.txt').write_text('0\n1\n')
    (text,) = [text for text in wrong(cfg) if 'with colours instead of classes' in text]
    assert text.endswith(f'{cure.format(root=root, above=root.parent)}.'), text


def test_labels_of_the_download_are_not_made_by_the_converter(tmp_path, quick):
    """VOC's own, of which the folder is empty."""
    put(tmp_path / 'JPEGImages/a.jpg', np.zeros((8, 12, 3), np.uint8))
    (tmp_path / 'SegmentationClass').mkdir()
    (tmp_path / 'train.txt').write_text('a\n')
    folders = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
    said = quick(
        config(
            dict(
                type='PascalVOCDataset',
                data_root=str(tmp_path),
                ann_file='train.txt',
                pipeline=LOAD,
                data_prefix=folders,
            ),
            classes=21,
        )
    )
    assert (
        'docs/datasets.md (Pascal VOC 2012 + Aug) says what to download' in said and 'voc_aug.py' not in said
    )
