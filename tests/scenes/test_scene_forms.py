"""What holds for every form of the scenes on disk: names, the same bytes again, and nothing of anybody else's
is touched.
"""

import json

import pytest
from mmengine.config import Config
from toys import ROOT, load_tool

from kd_methods.scenes import writer as scene_writer
from kd_methods.scenes.forms import FORMS, build_form
from kd_methods.scenes.writer import write_scenes

COUNTS = dict(train=9, val=2, size=32)  # 9: more than one process takes at once
# What a form leaves at the top, and names of the first training scene and the last val scene.
TOPS = dict(
    scenes=['train', 'val'],
    cityscapes=['gtFine', 'leftImg8bit'],
    voc=['VOC2012'],
    camvid=[
        'test',
        'test.txt',
        'testannot',
        'train',
        'train.txt',
        'trainannot',
        'val',
        'val.txt',
        'valannot',
    ],
    coco=['annotations', 'train2017', 'val2017'],
    nyuv2=['depths', 'images', 'labels13', 'labels40'],
    ade20k=['annotations', 'images'],
)
NAMES = dict(
    scenes=['train/images/00000.png', 'val/labels/00001.png'],
    cityscapes=[
        'leftImg8bit/train/aachen/aachen_000000_000000_leftImg8bit.png',
        *(
            f'gtFine/val/lindau/lindau_000000_000001_gtFine_{kind}'
            for kind in ('labelTrainIds.png', 'labelIds.png', 'instanceIds.png', 'color.png', 'polygons.json')
        ),
    ],
    voc=[
        *(
            f'VOC2012/{name}'
            for name in (
                'JPEGImages/2008_000001.jpg',
                'SegmentationClass/2008_000001.png',
                'SegmentationObject/2009_000002.png',
                'SegmentationClassAug/2008_000002.png',
                *(
                    f'ImageSets/Segmentation/{split}.txt'
                    for split in ('train', 'val', 'trainval', 'aug', 'trainaug')
                ),
            )
        )
    ],
    camvid=['train/0006R0_f00000.png', 'valannot/0016E5_00001.png', 'test/Seq05VD_f00001.png'],
    coco=['train2017/000000000001.jpg', 'annotations/instances_val2017.json'],
    nyuv2=[
        'images/train/00001.png',
        'depths/test/00004.png',
        'labels40/test/00004.png',
        'labels13/test/00004.png',
    ],
    ade20k=['images/training/ADE_train_00000001.jpg', 'annotations/validation/ADE_val_00000002.png'],
)
FILES = dict(
    scenes=22, cityscapes=66, voc=11 + 7 + 7 + 9 + 5, camvid=18 + 4 + 4 + 3, coco=11 + 2, nyuv2=44, ade20k=22
)


@pytest.fixture(scope='module', params=list(FORMS))
def written(request, tmp_path_factory):
    """A form's name, and a folder in that form."""
    out = tmp_path_factory.mktemp(request.param)
    assert write_scenes(out, **COUNTS, format=request.param, workers=1)
    return request.param, out


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def stop(*args, **kwargs):
    raise KeyboardInterrupt


def test_files_are_named_as_in_the_data_set(written):
    form, out = written
    assert sorted(path.name for path in out.iterdir()) == sorted([*TOPS[form], 'scenes.json'])
    found = files_of(out)
    assert set(NAMES[form]) <= set(found) and len(found) == FILES[form] + 1


def test_workers_write_the_same_bytes(written, tmp_path):
    form, out = written
    write_scenes(tmp_path, **COUNTS, format=form, workers=2)
    assert files_of(tmp_path) == files_of(out)


def test_written_once(written):
    form, out = written
    times = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    assert write_scenes(out, **COUNTS, format=form, workers=1) is False
    if form == 'nyuv2':  # its depth is there without being asked for
        assert write_scenes(out, **COUNTS, format=form, depth=True, workers=1) is False
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    assert json.loads((out / 'scenes.json').read_text()).get('format', 'scenes') == form


def test_bases_that_read_a_form_are_shipped(written):
    form, out = written
    built = [build_form(form, depth=depth) for depth in ([False, True] if FORMS[form].has_depth else [False])]
    for base in {base for one in built for base in one.bases()}:
        assert Config.fromfile(ROOT / f'configs/_base_/datasets/{base}.py').train_dataloader
    assert (out / built[0].root).is_dir()


@pytest.mark.parametrize('form', FORMS)
def test_the_command_line_says_what_reads_them(form, tmp_path, capsys):
    tool = load_tool('data/make_scenes')
    args = [*f'--out {tmp_path} --train 2 --val 1 --size 32 --workers 1 --format {form}'.split()]
    for said in ('2 train and 1 val scenes', 'nothing to do'):
        assert tool.main(args) == 0
        first, last = capsys.readouterr().out.splitlines()
        assert said in first
        assert last.startswith('read by configs/_base_/datasets/') and last.endswith(
            f'data_root={tmp_path / FORMS[form].root}'
        )


def test_help_has_a_line_on_each_form(capsys):
    with pytest.raises(SystemExit):
        load_tool('data/make_scenes').main(['--help'])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert all(any(name == words[0] for words in lines if words) for name in FORMS)


def test_not_over_another_form(tmp_path):
    write_scenes(tmp_path, train=2, val=1, size=32, format='coco', workers=1)
    with pytest.raises(ValueError, match='holds other scenes .*format coco there, None asked'):
        write_scenes(tmp_path, train=2, val=1, size=32, workers=1)
    with pytest.raises(ValueError, match='holds other scenes .*format coco there, ade20k asked'):
        write_scenes(tmp_path, train=2, val=1, size=32, format='ade20k', workers=1)


def test_unknown_forms_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got 'voc12', expected one of .'scenes', 'cityscapes', 'voc'"):
        write_scenes(tmp_path / 'a', format='voc12')
    assert not (tmp_path / 'a').exists()


@pytest.mark.parametrize('form', ['voc', 'camvid', 'coco', 'ade20k'])
def test_forms_without_a_place_for_depth_refuse_it(tmp_path, form):
    with pytest.raises(ValueError, match=f"the form '{form}' has no place for depth maps; leave --depth"):
        write_scenes(tmp_path / 'a', format=form, depth=True)
    assert not (tmp_path / 'a').exists()


def test_overwriting_leaves_nothing_of_the_form_before(tmp_path):
    for form in (*FORMS, 'coco', 'scenes'):
        write_scenes(
            tmp_path,
            train=2,
            val=1,
            size=32,
            format=form,
            depth=FORMS[form].has_depth,
            workers=1,
            overwrite=True,
        )
        depth = ['disparity'] if form == 'cityscapes' else []
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [*TOPS[form], *depth, 'scenes.json']
        ), form


@pytest.mark.parametrize(
    'form, file', [('coco', 'train2017/junk.jpg'), ('camvid', 'train.txt'), ('voc', 'VOC2012/junk.txt')]
)
@pytest.mark.parametrize('again', [True, False], ids=['again', 'other'])
def test_an_unfinished_folder_is_written_anew(tmp_path, monkeypatch, form, file, again):
    with monkeypatch.context() as patch:
        patch.setattr(scene_writer, 'scene_at', stop)
        with pytest.raises(KeyboardInterrupt):
            write_scenes(tmp_path, train=2, val=1, size=32, format=form, workers=1)
    (tmp_path / file).write_bytes(b'half')
    form = form if again else 'scenes'
    assert write_scenes(tmp_path, train=2, val=1, size=32, format=form, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*TOPS[form], 'scenes.json'])
    assert b'half' not in files_of(tmp_path).values()


def test_an_interrupted_overwrite_can_be_repeated(tmp_path, monkeypatch):
    write_scenes(tmp_path, train=1, val=1, size=32, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(scene_writer.shutil, 'rmtree', stop)
        with pytest.raises(KeyboardInterrupt):
            write_scenes(tmp_path, train=1, val=1, size=32, format='coco', workers=1, overwrite=True)
    assert write_scenes(tmp_path, train=1, val=1, size=32, format='coco', workers=1)
    assert not (tmp_path / 'train').exists()


@pytest.mark.parametrize(
    'form, name',
    [
        ('coco', 'train2017/000000000009.jpg'),
        ('cityscapes', 'leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png'),
        ('voc', 'VOC2012/JPEGImages/2008_000001.jpg'),
        ('camvid', 'train.txt'),
        ('nyuv2', 'nyuv2.json'),
        ('ade20k', 'images/training/ADE_train_00000001.jpg'),
    ],
)
def test_a_real_data_set_is_not_taken_for_unfinished_scenes(tmp_path, form, name):
    """It has folders of the same names."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'the real one')
    for overwrite in (False, True):
        with pytest.raises(ValueError, match='is not empty and holds no scenes.json'):
            write_scenes(tmp_path, train=2, val=1, size=32, format=form, workers=1, overwrite=overwrite)
    assert path.read_bytes() == b'the real one'
