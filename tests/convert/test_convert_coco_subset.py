"""Subsets of COCO, from sign scenes in its form and from small annotations by hand."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, METRICS, init_default_scope
from toys import ROOT, load_tool

import kd_methods  # noqa: F401
from kd_methods.convert import coco_subset
from kd_methods.convert.coco_subset import RECORD, choose, classes_of, config_options, write_subset
from kd_methods.data_check.paths import check_paths
from kd_methods.networks.config import load_config
from kd_methods.scenes.writer import write_scenes
from kd_methods.utils.files import exclusive_folder

ALL = dict(train=12, val=12)
pytestmark = pytest.mark.usefixtures('segmentation_scope')


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'coco'
    write_scenes(out, **ALL, size=48, format='coco', workers=1)
    return out


@pytest.fixture
def own(coco, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(coco, tmp_path / 'coco'))


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def annotations(folder, split):
    return json.loads((folder / f'annotations/instances_{split}2017.json').read_text())


def by_hand(*objects, images=8):
    """Annotations of categories 3, 1 and 7, in that order: (image, category, crowd) each."""
    return dict(
        info=dict(year=2017),
        licenses=[dict(id=4)],
        images=[
            dict(id=10 - i, file_name=f'{i}.jpg', height=9, width=8, coco_url='u') for i in range(images)
        ],
        annotations=[
            dict(id=100 - i, image_id=image, category_id=category, iscrowd=crowd, bbox=[0, 0, 4, 4], area=16)
            for i, (image, category, crowd) in enumerate(objects)
        ],
        categories=[
            dict(id=i, name=name, supercategory='s')
            for i, name in ((3, 'car'), (1, 'person'), (7, 'red light'))
        ],
    )


def test_every_field(coco, tmp_path):
    """What is kept of the images and objects is what it was; images lie where the annotations say."""
    before = tree(coco)
    assert write_subset(coco, tmp_path / 'out', train=5, val=3)
    assert tree(coco) == before
    for split, count in dict(train=5, val=3).items():
        whole, subset = annotations(coco, split), annotations(tmp_path / 'out', split)
        assert list(subset) == list(whole)
        assert all(subset[key] == whole[key] for key in ('info', 'licenses', 'categories'))
        ids = [image['id'] for image in subset['images']]
        assert len(ids) == count and subset['images'] == [
            image for image in whole['images'] if image['id'] in ids
        ]
        assert subset['annotations'] == [a for a in whole['annotations'] if a['image_id'] in ids]
        assert {a['image_id'] for a in subset['annotations']} == set(ids)
        names = [image['file_name'] for image in subset['images']]
        assert sorted(os.listdir(tmp_path / f'out/{split}2017')) == sorted(names)
        for name in names:
            assert (tmp_path / f'out/{split}2017' / name).samefile(coco / f'{split}2017' / name)


def test_the_draw():
    """The same seed draws the same images, of a larger subset more; another seed others."""
    content = by_hand(*((10 - i, 3, 0) for i in range(8)))
    drawn = {
        (count, seed): [image['id'] for image in choose(content, count, seed)['images']]
        for count in (3, 5, 8)
        for seed in (0, 1)
    }
    assert drawn[3, 0] == [image['id'] for image in choose(content, 3, 0)['images']]
    assert set(drawn[3, 0]) < set(drawn[5, 0]) and drawn[3, 0] != drawn[3, 1]
    assert drawn[8, 0] == drawn[8, 1] == list(range(10, 2, -1)), "in COCO's order"


def test_only_images_with_an_object_are_drawn():
    content = by_hand((10, 3, 1), (9, 3, 1), (9, 1, 0), (8, 7, 0), (8, 7, 1), (7, 1, 0))
    assert [image['id'] for image in choose(content, 3, 0)['images']] == [9, 8, 7]
    assert len(choose(content, 3, 0)['annotations']) == 5, 'crowds beside objects are kept'
    with pytest.raises(
        ValueError, match='asked for 4 images, but 3 of 8 have an object. Ask for 3 or fewer$'
    ):
        choose(content, 4, 0)


def test_nothing_can_be_asked_for_where_there_is_nothing():
    with pytest.raises(ValueError, match='asked for 1 images, but 0 of 8 have an object of car$'):
        choose(by_hand((10, 1, 0)), 1, 0, ['car'])


def test_only_some_classes():
    content = by_hand((10, 3, 0), (9, 3, 1), (9, 1, 0), (8, 7, 0), (8, 3, 1), (7, 1, 0))
    chosen = choose(content, 2, 0, ['red light', 'car'])
    assert [category['name'] for category in chosen['categories']] == ['car', 'red light']
    assert [image['id'] for image in chosen['images']] == [10, 8]
    assert [(a['image_id'], a['category_id']) for a in chosen['annotations']] == [(10, 3), (8, 7), (8, 3)]
    with pytest.raises(ValueError, match='asked for 3 images, but 2 of 8 have an object of red light, car'):
        choose(content, 3, 0, ['red light', 'car'])


def config_of(base, out):
    cfg = load_config(base)
    init_default_scope('mmdet')
    cfg.merge_from_dict(dict(option.split('=') for option in config_options(out)))
    return cfg


def build(cfg, split):
    dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    metric = METRICS.build(cfg[f'{split}_evaluator']) if split != 'train' else None
    if metric:
        metric.dataset_meta = dataset.metainfo
    return dataset, metric


def perfect(dataset, metric):
    """Average precision of the truth itself."""
    for i in range(len(dataset)):
        instances = dataset.get_data_info(i)['instances']
        boxes = np.array([instance['bbox'] for instance in instances])
        metric.results.append(
            (
                dict(img_id=dataset.get_data_info(i)['img_id'], width=48, height=48),
                dict(
                    img_id=dataset.get_data_info(i)['img_id'],
                    bboxes=boxes,
                    scores=np.ones(len(boxes)),
                    labels=np.array([instance['bbox_label'] for instance in instances]),
                ),
            )
        )
    return metric.compute_metrics(metric.results)['bbox_mAP']


@pytest.mark.parametrize(
    'base',
    [
        'configs/baselines/retinanet_r18_scenescoco.py',
        'configs/dmkd/dmkd_retinanet_x101-64x4d_retinanet_r50_8xb2-2x_coco.py',
    ],
    ids=['plain', 'distillation'],
)
def test_the_options_make_a_config_read_it(coco, tmp_path, monkeypatch, base):
    """With the options that the tool prints; from another folder the whole data set would not be found."""
    monkeypatch.chdir(tmp_path)
    write_subset(coco, 'small', train=5, val=3)
    cfg = config_of(base, 'small')
    check_paths(cfg, 'train', 'val', 'test')
    # The categories of the scenes are not those of COCO, of which a config for COCO speaks.
    classes = dict(classes=classes_of('small'))
    cfg.merge_from_dict(
        {f'{split}_dataloader.dataset.metainfo': classes for split in ('train', 'val', 'test')}
    )
    for split in ('val', 'test'):
        cfg[f'{split}_evaluator'].metric = 'bbox'
    dataset, _ = build(cfg, 'train')
    assert len(dataset) == 5 and dataset[0]['data_samples'].gt_instances.bboxes.shape[0] > 0
    for split in ('val', 'test'):
        dataset, metric = build(cfg, split)
        assert len(dataset) == 3 and perfect(dataset, metric) == 1


def test_the_config_of_the_help_reads_some_classes(coco, tmp_path):
    """A class that is first in COCO's order keeps its boxes when it is named last."""
    out = tmp_path / 'few'
    write_subset(coco, out, train=4, val=2, classes=['7', '2'])
    assert classes_of(out) == ('2', '7')
    text = load_tool('data/coco_subset').__doc__
    lines = text[text.index('    _base_') : text.index('and the options above')].splitlines()
    config = (
        '\n'.join(line.strip() for line in lines)
        .replace("'retinanet", f"'{ROOT}/configs/baselines/retinanet")
        .replace("('person', 'car', 'traffic light')", str(classes_of(out)))
    )
    (tmp_path / 'config.py').write_text(config)
    cfg = config_of(str(tmp_path / 'config.py'), out)
    assert cfg.model.bbox_head.num_classes == 3
    names = {category['id']: category['name'] for category in annotations(coco, 'val')['categories']}
    dataset, metric = build(cfg, 'val')
    found = [
        sorted(
            dataset.metainfo['classes'][instance['bbox_label']]
            for instance in dataset.get_data_info(i)['instances']
        )
        for i in range(len(dataset))
    ]
    content = annotations(coco, 'val')
    assert found == [
        sorted(
            names[a['category_id']]
            for a in content['annotations']
            if a['image_id'] == dataset.get_data_info(i)['img_id'] and names[a['category_id']] in '27'
        )
        for i in range(len(dataset))
    ]
    assert all(found) and perfect(dataset, metric) == 1


def test_the_printed_options_are_those_of_the_help(tmp_path):
    text = load_tool('data/coco_subset').__doc__
    assert all(option in text.split() for option in config_options('data/coco_small'))


def test_images_are_copied_where_no_link_can_be(coco, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(18, 'Invalid cross-device link')

    monkeypatch.setattr(coco_subset.os, 'link', refuse)
    write_subset(coco, tmp_path / 'out', train=2, val=1)
    for path in (tmp_path / 'out').glob('*2017/*.jpg'):
        original = coco / path.parent.name / path.name
        assert (
            path.read_bytes() == original.read_bytes()
            and not path.samefile(original)
            and not path.is_symlink()
        )


def test_images_that_are_links_themselves(own, tmp_path):
    (own / 'train2017').rename(own / 'disk')
    (own / 'train2017').mkdir()
    for path in (own / 'disk').iterdir():
        (own / 'train2017' / path.name).symlink_to(path)
    write_subset(own, tmp_path / 'out', train=2, val=1)
    for path in (tmp_path / 'out/train2017').iterdir():
        assert not path.is_symlink() and path.samefile(own / 'disk' / path.name)


def test_a_second_run_does_nothing(coco, tmp_path):
    assert write_subset(coco, tmp_path / 'out', train=3, val=2, classes=['1', '2'])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*')}
    assert not write_subset(coco, tmp_path / 'out', train=3, val=2, classes=['2', '1'])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*')} == before


def test_another_subset_needs_overwrite(coco, tmp_path):
    write_subset(coco, tmp_path / 'out', train=3, val=2)
    with pytest.raises(ValueError, match='out: .* holds another subset .seed 0 there, 1 asked.*--overwrite'):
        write_subset(coco, tmp_path / 'out', train=3, val=2, seed=1)
    assert write_subset(coco, tmp_path / 'out', train=3, val=2, seed=1, overwrite=True)
    write_subset(coco, tmp_path / 'new', train=3, val=2, seed=1)
    assert tree(tmp_path / 'out') == tree(tmp_path / 'new')


def test_one_run_at_a_time_writes_into_a_folder(coco, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    with exclusive_folder(out), pytest.raises(ValueError, match='another process is writing here'):
        write_subset(coco, out, train=3, val=2)
    assert not any(out.iterdir())
    assert write_subset(coco, out, train=3, val=2) and not write_subset(coco, out, train=3, val=2)


def test_what_another_run_has_completed_meanwhile_is_left_alone(coco, tmp_path, monkeypatch):
    out, choose_split = tmp_path / 'out', coco_subset._choose_split

    def meanwhile(*args):
        with monkeypatch.context() as patch:
            patch.setattr(coco_subset, '_choose_split', choose_split)
            write_subset(coco, out, train=2, val=1, seed=5)
        return choose_split(*args)

    monkeypatch.setattr(coco_subset, '_choose_split', meanwhile)
    with pytest.raises(ValueError, match='seed 5 there, 0 asked'):
        write_subset(coco, out, train=2, val=1)


class Stop(Exception):
    """What a test stops a run with."""


@pytest.mark.parametrize('writes', [0, 3, 5, 6, 7])
@pytest.mark.parametrize('before', [False, True], ids=['new', 'overwriting'])
def test_stopped_half_way(coco, tmp_path, monkeypatch, writes, before):
    """Files are whole, nothing claims to be complete, no annotations name a missing image; the same command
    completes it.
    """
    out = tmp_path / 'out'
    if before:
        write_subset(coco, out, train=4, val=2, seed=3)
    write_subset(coco, tmp_path / 'whole', train=3, val=2)
    replace, done = os.replace, []

    def stop(part, path):
        if len(done) == writes:
            raise Stop
        done.append(replace(part, path))

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', stop)
        with pytest.raises(Stop):
            write_subset(coco, out, train=3, val=2, overwrite=before)
    left = tree(out) if out.exists() else {}
    assert (RECORD in left) == (before and writes == 0) and not any('/.' in f'/{name}' for name in left)
    for split in ('train', 'val'):
        if f'annotations/instances_{split}2017.json' in left:
            assert all(
                f'{split}2017/{image["file_name"]}' in left for image in annotations(out, split)['images']
            )
    assert write_subset(coco, out, train=3, val=2, overwrite=before)
    assert tree(out) == tree(tmp_path / 'whole')


def refused(error, source, out, text, **options):
    with pytest.raises(error, match=text):
        write_subset(source, out, **{**dict(train=3, val=2), **options})
    assert not out.exists()


def test_truncated_annotations(own, tmp_path):
    path = own / 'annotations/instances_val2017.json'
    content = path.read_bytes()
    for broken in (content[:-20], b'', content[:40] + b'\xff' + content[40:]):
        path.write_bytes(broken)
        refused(
            ValueError,
            own,
            tmp_path / 'out',
            rf'instances_val2017.json \({len(broken)} bytes\) cannot be read.*Unpack or download it again',
        )


@pytest.mark.parametrize(
    'content',
    [[], dict(images=[], annotations=[]), by_hand() | dict(annotations=[dict(id=1, caption='x')])],
    ids=['a list', 'no categories', 'captions'],
)
def test_other_annotations(own, tmp_path, content):
    (own / 'annotations/instances_train2017.json').write_text(json.dumps(content))
    refused(ValueError, own, tmp_path / 'out', 'source: .*instances_train2017.json has no list')


def test_missing_and_empty_images(own, tmp_path):
    for split, name in (('train', '000000000004.jpg'), ('train', '000000000007.jpg')):
        (own / f'{split}2017' / name).write_bytes(b'') if '7' in name else (
            own / f'{split}2017' / name
        ).unlink()
    refused(
        FileNotFoundError,
        own,
        tmp_path / 'out',
        r'source: 2 of the 12 chosen train images are missing or empty: '
        r'\S+train2017/000000000004.jpg, \S+train2017/000000000007.jpg. Unpack train2017.zip again',
        **ALL,
    )


def test_more_images_than_there_are(coco, tmp_path):
    refused(
        ValueError,
        coco,
        tmp_path / 'out',
        r'train: asked for 1000 images, but 12 of 12 have an object. Ask for 12 or fewer '
        r'\(--train, .*train2017.json\)',
        train=1000,
    )
    refused(ValueError, coco, tmp_path / 'out', 'val: asked for 13 images', val=13)
    refused(ValueError, coco, tmp_path / 'out', 'val: got 0, expected 1 or more', val=0)
    refused(ValueError, coco, tmp_path / 'out', 'seed: got -1', seed=-1)


def test_unknown_classes(coco, tmp_path):
    refused(
        KeyError,
        coco,
        tmp_path / 'out',
        "classes: .*train2017.json has no category '11'. Did you mean '1'. It has 0, 1, 2",
        classes=['3', '11'],
    )


def test_wrong_folders(coco, tmp_path):
    refused(FileNotFoundError, tmp_path / 'gone', tmp_path / 'out', 'source: the converter finds no')
    refused(
        FileNotFoundError,
        coco / 'train2017',
        tmp_path / 'out',
        'source: .* has no annotations/.*Did you mean .*coco',
    )
    with pytest.raises(ValueError, match='out: .* is the source'):
        write_subset(coco, coco / '.')
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/photo.jpg').write_bytes(b'')
    with pytest.raises(
        ValueError, match=r"out: .* is not empty and holds no coco_subset.json \(found \['photo.jpg'\]\)"
    ):
        write_subset(coco, tmp_path / 'mine', train=3, val=2, overwrite=True)
    with pytest.raises(ValueError, match='out: .*photo.jpg is a file'):
        write_subset(coco, tmp_path / 'mine/photo.jpg', train=3, val=2)


def test_command_line(coco, tmp_path, capsys):
    tool = load_tool('data/coco_subset')
    argv = [str(coco), '--out', str(tmp_path / 'out'), '--train', '3', '--val', '2', '--classes', '7', '2']
    assert tool.main(argv) == 0
    said = capsys.readouterr().out
    assert '3 train and 2 val images' in said and all(
        option in said.split() for option in config_options(tmp_path / 'out')
    )
    assert "metainfo = dict(classes=('2', '7')) and num_classes=2" in said
    assert tool.main(argv) == 0
    assert 'nothing to do' in capsys.readouterr().out
