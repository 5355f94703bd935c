"""Where missing files come from."""
import re

import pytest
from mmengine.config import Config
from toys import ROOT

from kd_methods.data_check.cures import CURES, PAGE
from kd_methods.data_check.places import check_places


@pytest.mark.parametrize('name', CURES)
def test_every_command_and_section_is_there(name):
    from mmengine.registry import DATASETS

    from kd_methods.data_check.leaves import owners, resolve
    cure = CURES[name]
    assert f'\n## {cure.section}\n' in (ROOT / PAGE).read_text()
    if cure.command:
        assert (ROOT / cure.command.split()[1]).is_file()
    package, cls = name.split('.')
    assert owners(resolve(cls, DATASETS, package if package != 'kd_methods' else None))[0] == name


@pytest.mark.parametrize('kind, root, there, keys, cure', [
    ('mmseg.CityscapesDataset', 'cityscapes', [], {}, r'docs/datasets.md \(Cityscapes\) says what to download'),
    ('mmseg.CityscapesDataset', 'cityscapes', ['leftImg8bit'],
     dict(data_prefix=dict(img_path='leftImg8bit', seg_map_path='gtFine')),
     r'docs/datasets.md \(Cityscapes\) says what to download'),
    ('CityscapesDisparityDataset', 'cityscapes', [], {}, r'docs/datasets.md \(Cityscapes\)'),
    ('mmseg.PascalVOCDataset', 'VOCdevkit/VOC2012', ['lists'], dict(ann_file='lists/aug.txt'),
     r'Write it first: python tools/data/voc_aug.py \S*VOCdevkit SBD \(docs/datasets.md, Pascal VOC 2012 \+ Aug\)'),
    ('mmseg.PascalVOCDataset', 'VOCdevkit/VOC2012', ['lists'], dict(ann_file='lists/train.txt'),
     r'docs/datasets.md \(Pascal VOC 2012 \+ Aug\) says what to download'),
    ('NYUv2Dataset13', 'nyuv2', ['images'], dict(data_prefix=dict(img_path='images', seg_map_path='labels13/train')),
     'Write it first: python tools/data/nyuv2.py --help'),
    ('mmseg.COCOStuffDataset', 'coco_stuff10k', ['x'], dict(data_prefix=dict(img_path='images'), reduce_zero_label=True),
     r'Write it first: python tools/data/coco_stuff10k.py \S+coco_stuff10k '),
    ('mmseg.COCOStuffDataset', 'coco_stuff164k', ['x'], dict(data_prefix=dict(img_path='images')),
     'docs/datasets.md says how to prepare each data set'),
    ('mmdet.CocoDataset', 'coco', [], {}, r'docs/datasets.md \(COCO 2017\)'),
    ('mmdet.CocoDataset', 'scenes_coco', [], {},
     r'Write the scenes first: python tools/data/make_scenes.py --out \S+ --format coco'),
    ('mmseg.CityscapesDataset', 'scenes_cityscapes', [], {}, r'make_scenes.py --out \S+ --format cityscapes'),
    ('mmseg.PascalVOCDataset', 'scenes_voc/VOC2012', [], {}, r'make_scenes.py --out \S+/scenes_voc --format voc'),
    ('mmseg.CityscapesDataset', 'scenes_of_my_city', [], {}, r'docs/datasets.md \(Cityscapes\) says what to download'),
    ('SceneDataset', 'rgbd', [], {}, r'make_scenes.py --out \S+ --depth --camouflage 0.5'),
    ('mmseg.LoveDADataset', 'x', [], {}, 'docs/datasets.md says how to prepare each data set'),
    ('NobodysDataset', 'x', [], {}, 'docs/datasets.md says how to prepare each data set'),
], ids=lambda value: value if isinstance(value, str) and len(value) < 30 else '')
def test_a_missing_place_names_its_source(kind, root, there, keys, cure, tmp_path):
    for folder in there:
        (tmp_path / root / folder).mkdir(parents=True)
    dataset = dict(type=kind, data_root=str(tmp_path / root), pipeline=[dict(type='LoadAnnotations')], **keys)
    with pytest.raises(FileNotFoundError) as caught:
        check_places(Config(dict(train_dataloader=dict(dataset=dataset))), 'train')
    text = str(caught.value)
    assert re.search(cure, text), text
    assert text.startswith(f'train_dataloader.dataset: {kind} finds no ')
    assert text.endswith('train_dataloader.dataset.data_root=DIR.')
