"""No converter reads or writes outside of its folders, whatever names and links it meets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import raw_camvid
import raw_cityscapes
import raw_coco_stuff10k
import raw_nyuv2
import raw_sbd
import scipy.io
from PIL import Image
from toys import ROOT

from kd_methods.convert.camvid import convert_camvid
from kd_methods.convert.cityscapes import convert_cityscapes
from kd_methods.convert.coco_stuff10k import convert_coco_stuff10k
from kd_methods.convert.coco_subset import annotations_of, write_subset
from kd_methods.convert.nyuv2 import convert_nyuv2
from kd_methods.convert.voc_aug import convert_voc_aug


class Case(NamedTuple):
    """A converter with a small release below a folder.

    Args:
        write (Callable): Writes the release into a folder.
        run (Callable): Converts it.
        name (Callable): Puts a name into a list of the release; None where no name comes from a file.
        read (tuple[str]): What is read below the folder.
        written (tuple[str]): Folders that are written into.
    """

    write: Callable[[Path], None]
    run: Callable[[Path], object]
    name: Callable[[Path, str], None] | None
    read: tuple = ()
    written: tuple = ()


def append(path: str) -> Callable[[Path, str], None]:
    def put(folder: Path, name: str) -> None:
        with (folder / path).open('a') as file:
            file.write(f'{name}\n')

    return put


def write_cityscapes(root: Path) -> None:
    raw_cityscapes.write_polygons(
        root, 'train', 'aachen', 1, [('road', raw_cityscapes.rectangle(1, 1, 5, 5))]
    )
    raw_cityscapes.write_ids(root, 'val', 'ulm', 2, np.full((4, 5), 7))


def write_voc(root: Path) -> None:
    raw_sbd.write_voc(root / 'kit', ['a'], ['b'], more=['c'])
    raw_sbd.write_sbd(root / 'sbd', ['c'], ['b'])


def write_coco(root: Path) -> None:
    (root / 'coco/annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / f'coco/{split}2017').mkdir()
        Image.new('RGB', (8, 6)).save(root / f'coco/{split}2017/1.jpg')
        content = dict(
            images=[dict(id=1, file_name='1.jpg', height=6, width=8)],
            annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 4, 4])],
            categories=[dict(id=1, name='cat')],
        )
        (root / 'coco' / annotations_of(split)).write_text(json.dumps(content))


def name_in_coco(root: Path, name: str) -> None:
    path = root / 'coco' / annotations_of('train')
    content = json.loads(path.read_text())
    content['images'][0]['file_name'] = name
    path.write_text(json.dumps(content))


def write_nyuv2(root: Path) -> None:
    raw_nyuv2.write_mat(root / 'labeled.mat', raw_nyuv2.official())
    scipy.io.savemat(root / 'mapping.mat', dict(mapClass=raw_nyuv2.MAPPING.astype(np.uint8)[None]))
    raw_nyuv2.write_splits(root / 'splits.mat')


def write_camvid(root: Path) -> None:
    raw_camvid.write_release(root / 'camvid')


CASES = {
    'camvid': Case(
        write_camvid,
        lambda root: convert_camvid(root / 'camvid', root / 'out', size=(8, 6), workers=1),
        None,
        (
            'camvid/701_StillsRaw_full',
            'camvid/701_StillsRaw_full/0006R0_f00930.png',
            'camvid/LabeledApproved_full/0006R0_f00930_L.png',
        ),
        ('out/train', 'out/valannot'),
    ),
    'cityscapes': Case(
        write_cityscapes,
        lambda root: convert_cityscapes(root, workers=1),
        None,
        (
            'gtFine',
            'gtFine/train/aachen',
            'gtFine/train/aachen/aachen_000001_000019_gtFine_polygons.json',
            'gtFine/val/ulm/ulm_000002_000019_gtFine_labelIds.png',
        ),
    ),
    'coco_stuff10k': Case(
        lambda root: raw_coco_stuff10k.write_coco_stuff(root, [1], [2]),
        lambda root: convert_coco_stuff10k(root, workers=1),
        append('imageLists/train.txt'),
        (
            'imageLists/test.txt',
            'images',
            f'images/{raw_coco_stuff10k.name_of(1)}.jpg',
            f'annotations/{raw_coco_stuff10k.name_of(2)}.mat',
        ),
        ('annotations/train2014', 'images/test2014'),
    ),
    'coco_subset': Case(
        write_coco,
        lambda root: write_subset(root / 'coco', root / 'out', train=1, val=1),
        name_in_coco,
        ('coco/annotations', 'coco/val2017', 'coco/train2017/1.jpg'),
        ('out/train2017', 'out/annotations'),
    ),
    'nyuv2': Case(
        write_nyuv2,
        lambda root: convert_nyuv2(
            *(root / f'{name}.mat' for name in ('labeled', 'mapping', 'splits')), root / 'out', overwrite=True
        ),
        None,
        (),
        ('out/unfinished', 'out/images'),
    ),
    'voc_aug': Case(
        write_voc,
        lambda root: convert_voc_aug(root / 'kit', root / 'sbd', workers=1),
        append('sbd/dataset/train.txt'),
        (
            'kit/VOC2012/JPEGImages',
            'kit/VOC2012/JPEGImages/c.jpg',
            'kit/VOC2012/SegmentationClass/a.png',
            'sbd/dataset/cls/c.mat',
        ),
        ('kit/VOC2012/SegmentationClassAug',),
    ),
    'voc_aug lists': Case(
        write_voc,
        lambda root: convert_voc_aug(root / 'kit', root / 'sbd', workers=1),
        append('kit/VOC2012/ImageSets/Segmentation/train.txt'),
    ),
}
WITH_NAMES = [case for case in CASES if CASES[case].name]


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / 'deep/inner'
    root.mkdir(parents=True)
    return root


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_every_converter_is_here():
    modules = {path.stem for path in (ROOT / 'tools/data').glob('*.py')}
    assert modules - {'browse', 'check', 'entry', 'make_scenes'} == {case.split()[0] for case in CASES}


@pytest.mark.parametrize('name', ['../x', '../../../../x', 'a/../../x', '..', '/x', '/tmp/x'])
@pytest.mark.parametrize('case', WITH_NAMES)
def test_names_that_leave_their_folder_are_refused(case, name, folder, tmp_path):
    CASES[case].write(folder)
    CASES[case].name(folder, name)
    before = files_below(tmp_path)
    with pytest.raises(ValueError, match=f"the name '{name}' leads out of its folder and is refused"):
        CASES[case].run(folder)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize('name', [5, None, '', 'a\0b', ['1.jpg']])
def test_names_that_are_none_are_refused(name, folder):
    write_coco(folder)
    name_in_coco(folder, name)
    with pytest.raises(ValueError, match=r'instances_train2017.json: .* is no name of a file'):
        CASES['coco_subset'].run(folder)


@pytest.mark.parametrize('name', ['../gtFine', '/gtFine'])
def test_cityscapes_annotations_are_a_name_below_the_root(name, folder):
    write_cityscapes(folder)
    with pytest.raises(ValueError, match='--annotations: the name .* leads out of its folder'):
        convert_cityscapes(folder, annotations=name, workers=1)


@pytest.mark.parametrize('line', ['../../{}.png ../x.png', '/SegNet/CamVid/train/{}.png x'])
def test_lists_of_camvid_give_names_alone(line, folder, tmp_path):
    """Lists of the 11-class release have absolute paths: nothing but the names of known images is used."""
    write_camvid(folder)
    (folder / 'lists').mkdir()
    names = sorted(raw_camvid.NAMES)
    for split, name in zip(('train', 'val', 'test'), names):
        (folder / f'lists/{split}.txt').write_text(line.format(name) + '\n')
    before = files_below(tmp_path)
    outcome = convert_camvid(folder / 'camvid', folder / 'out', folder / 'lists', size=(8, 6), workers=1)
    assert outcome.written == 6 and (folder / f'out/train/{names[0]}.png').is_file()
    assert all((folder / 'out') in path.parents for path in files_below(tmp_path).keys() - before.keys())


@pytest.mark.parametrize('case, path', [(case, path) for case, value in CASES.items() for path in value.read])
def test_links_out_are_not_read(case, path, folder, tmp_path):
    CASES[case].write(folder)
    (folder / path).rename(tmp_path / 'elsewhere')
    (folder / path).symlink_to(tmp_path / 'elsewhere')
    before = files_below(tmp_path)
    with pytest.raises(ValueError, match=r'leads out of .*elsewhere.*, and is refused'):
        CASES[case].run(folder)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    'case, path', [(case, path) for case, value in CASES.items() for path in value.written]
)
def test_links_out_are_not_written_through(case, path, folder, tmp_path):
    CASES[case].write(folder)
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere/kept.txt').write_text('kept')
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).symlink_to(tmp_path / 'elsewhere')
    before = files_below(tmp_path)
    with pytest.raises(ValueError, match='leads out of|is not empty'):
        CASES[case].run(folder)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize('case', CASES)
def test_a_folder_that_is_a_link_itself_is_taken(case, folder, tmp_path):
    CASES[case].write(folder)
    (tmp_path / 'link').symlink_to(folder)
    outcome = CASES[case].run(tmp_path / 'link')
    assert outcome is True or outcome.written and not outcome.failed


def test_what_a_killed_run_left_is_not_written_through(folder, tmp_path):
    """Files are written beside their place first; a link that lies there is replaced."""
    write_camvid(folder)
    (tmp_path / 'secret').write_text('kept')
    (folder / 'out/train').mkdir(parents=True)
    (folder / 'out/train/.0006R0_f00930.png.part').symlink_to(tmp_path / 'secret')
    (folder / 'out/.val.txt.part').symlink_to(tmp_path / 'secret')
    assert CASES['camvid'].run(folder).exit_code == 0
    assert (tmp_path / 'secret').read_text() == 'kept'
