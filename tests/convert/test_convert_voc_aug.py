"""VOC 2012 + Aug from SBD: labels, lists, and what happens when some of it is wrong."""

import re
from functools import partial

import numpy as np
import pytest
import scipy.io
from entry import run_tool
from mmseg.datasets import PascalVOCDataset
from PIL import Image
from raw_sbd import LISTS, SIZE, labels_of, write_mat, write_sbd, write_voc
from toys import load_tool

from kd_methods.convert.voc_aug import convert_voc_aug, read_sbd
from kd_methods.utils.files import exclusive_folder

# VOC's train and val, and SBD's: v1 is in both trains, v2 in VOC's alone, v4 and v5 (of VOC's val) in SBD
# too.
TRAIN, VAL = ['2007_v1', '2007_v2'], ['2007_v3', '2007_v4', '2007_v5']
SBD_TRAIN, SBD_VAL = ['2008_s9', '2008_s1', '2007_v4', '2007_v1'], ['2008_s2', '2007_v5', '2008_s3']
AUG = ['2008_s1', '2008_s2', '2008_s3', '2008_s9']
TRAINAUG = ['2007_v1', '2007_v2', *AUG]
CONVERTED = sorted({*SBD_TRAIN, *SBD_VAL, '2007_v2'})


@pytest.fixture
def voc(tmp_path):
    devkit = tmp_path / 'VOCdevkit'
    write_voc(devkit, TRAIN, VAL, more=[*SBD_TRAIN, *SBD_VAL])
    return devkit


@pytest.fixture
def sbd(tmp_path):
    root = tmp_path / 'benchmark_RELEASE'
    write_sbd(root, SBD_TRAIN, SBD_VAL)
    return root


def lists(voc):
    return {split: (voc / LISTS / f'{split}.txt').read_text().split() for split in ('aug', 'trainaug')}


def written(voc):
    paths = [*(voc / 'VOC2012/SegmentationClassAug').glob('*'), *(voc / LISTS).glob('*aug.txt')]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def label_path(voc, name):
    return voc / f'VOC2012/SegmentationClassAug/{name}.png'


def test_every_pixel_and_every_name(voc, sbd):
    outcome = convert_voc_aug(voc, sbd, workers=1)
    assert (outcome.written, outcome.kept, outcome.failed) == (8, 0, {})
    assert sorted(path.stem for path in label_path(voc, '').parent.iterdir()) == CONVERTED
    palette = np.zeros((256, 3), np.uint8)
    palette[:21], palette[255] = PascalVOCDataset.METAINFO['palette'], (224, 224, 192)
    for name in CONVERTED:
        image = Image.open(label_path(voc, name))
        labels = np.array(image)
        np.testing.assert_array_equal(np.array(image.convert('RGB')), palette[labels])
        expected = labels_of(name)
        if name == '2007_v2':  # VOC's own, as SBD lacks it
            expected = labels_of(f'voc {name}')
            expected[:, -1] = 255
        np.testing.assert_array_equal(labels, expected)
    assert lists(voc) == dict(aug=AUG, trainaug=TRAINAUG)


def test_a_subset_is_noted(voc, sbd):
    notes = convert_voc_aug(voc, sbd).notes
    assert notes == [
        f'{voc / LISTS}/trainaug.txt: 6 images (the full data has 10582)',
        f'{voc / LISTS}/aug.txt: 4 images (the full data has 9118)',
    ]


def test_a_second_run_changes_nothing(voc, sbd):
    convert_voc_aug(voc, sbd)
    before = written(voc)
    outcome = convert_voc_aug(voc, sbd)
    assert (outcome.written, outcome.kept, outcome.exit_code) == (0, 8, 0)
    assert len(before) == 10 and written(voc) == before


def test_an_interrupted_run_leaves_no_half_file_and_the_next_one_goes_on(voc, sbd, stop_and_go_on):
    assert stop_and_go_on(partial(convert_voc_aug, voc, sbd, workers=1), voc, 4).written == 5
    assert lists(voc) == dict(aug=AUG, trainaug=TRAINAUG)


def test_half_a_file_of_another_tool_is_converted_anew(voc, sbd):
    convert_voc_aug(voc, sbd)
    path = label_path(voc, '2008_s2')
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    outcome = convert_voc_aug(voc, sbd)
    assert (outcome.written, outcome.kept) == (1, 7) and path.read_bytes() == whole


def without(name):
    return dict(aug=[n for n in AUG if n != name], trainaug=[n for n in TRAINAUG if n != name])


@pytest.mark.parametrize('share', [0, 0.2, 0.95])
def test_a_truncated_file_is_named_left_out_and_repaired_later(voc, sbd, share):
    path = sbd / 'dataset/cls/2008_s2.mat'
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    outcome = convert_voc_aug(voc, sbd)
    assert (outcome.written, list(outcome.failed), outcome.exit_code) == (7, [path], 1)
    assert re.match(f'{re.escape(str(path))} .* cannot be read as a MATLAB file', outcome.failed[path])
    assert lists(voc) == without('2008_s2') and outcome.notes[-1].startswith(
        '1 of 6 images are left out of the lists'
    )
    path.write_bytes(whole)
    outcome = convert_voc_aug(voc, sbd)
    assert (outcome.written, outcome.kept, outcome.exit_code) == (1, 7, 0)
    assert lists(voc) == dict(aug=AUG, trainaug=TRAINAUG)


@pytest.mark.parametrize('name', ['2008_s3', '2007_v2'])
def test_missing_labels_are_named_and_left_out(voc, sbd, name):
    path = (
        sbd / 'dataset/cls/2008_s3.mat'
        if name == '2008_s3'
        else voc / 'VOC2012/SegmentationClass/2007_v2.png'
    )
    path.unlink()
    outcome = convert_voc_aug(voc, sbd)
    assert outcome.failed == {path: f'{path}: no such file'}
    assert lists(voc) == without(name)


def test_wrong_labels_are_named(voc, sbd):
    labels = labels_of('2008_s1')
    labels[2, 2] = 21
    path = sbd / 'dataset/cls/2008_s1.mat'
    write_mat(path, labels)
    outcome = convert_voc_aug(voc, sbd)
    assert outcome.failed == {path: f'{path} holds the labels 21, expected labels from 0 to 20, and 255'}
    assert lists(voc) == without('2008_s1') and not label_path(voc, '2008_s1').exists()


def test_instances_in_place_of_classes_are_named(tmp_path):
    path = tmp_path / '2008_s1.mat'
    scipy.io.savemat(path, dict(GTinst=dict(Segmentation=np.ones((2, 3)))))
    with pytest.raises(ValueError, match="2008_s1.mat has no variable 'GTcls', it holds .'GTinst'."):
        read_sbd(path)
    for content in (dict(Boundaries=np.ones((2, 3))), np.ones((2, 3))):
        scipy.io.savemat(path, dict(GTcls=content))
        with pytest.raises(
            ValueError, match='2008_s1.mat: GTcls holds .*, expected Segmentation. The files of dataset/cls'
        ):
            read_sbd(path)


def test_a_missing_image_is_named_and_left_out_also_when_its_labels_are_there(voc, sbd):
    convert_voc_aug(voc, sbd)
    path = voc / 'VOC2012/JPEGImages/2008_s9.jpg'
    content = path.read_bytes()
    path.unlink()
    outcome = convert_voc_aug(voc, sbd)
    assert (outcome.written, outcome.kept, outcome.failed) == (0, 8, {path: f'{path}: no such file'})
    assert lists(voc) == without('2008_s9')
    path.write_bytes(content)
    assert convert_voc_aug(voc, sbd).exit_code == 0
    assert lists(voc) == dict(aug=AUG, trainaug=TRAINAUG)


@pytest.mark.parametrize('share', [0, 0.5, 0.995])
@pytest.mark.parametrize('before', [False, True], ids=['first-run', 'later-run'])
def test_a_truncated_image_is_named_left_out_and_repaired_later(voc, sbd, share, before):
    if before:
        convert_voc_aug(voc, sbd)
    path = voc / 'VOC2012/JPEGImages/2008_s9.jpg'
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    outcome = convert_voc_aug(voc, sbd)
    assert list(outcome.failed) == [path] and outcome.exit_code == 1
    assert re.match(f'{re.escape(str(path))} .* cannot be read as an image', outcome.failed[path])
    assert lists(voc) == without('2008_s9')
    path.write_bytes(whole)
    assert convert_voc_aug(voc, sbd).exit_code == 0
    assert lists(voc) == dict(aug=AUG, trainaug=TRAINAUG)


def test_one_run_at_a_time(voc, sbd):
    with (
        exclusive_folder(voc / 'VOC2012'),
        pytest.raises(ValueError, match='VOC2012: another process is writing here'),
    ):
        convert_voc_aug(voc, sbd)


@pytest.mark.parametrize('name', ['2008_s9', '2007_v1'])
def test_an_image_of_another_size_is_named_and_left_out(voc, sbd, name):
    path = voc / f'VOC2012/JPEGImages/{name}.jpg'
    Image.new('RGB', SIZE).save(path)  # its sides in the wrong order
    outcome = convert_voc_aug(voc, sbd)
    assert outcome.failed == {path: f'{path}: the image is 14 x 9 (height x width), its labels are 9 x 14'}
    assert lists(voc) == without(name)


@pytest.mark.parametrize('given', ['', 'VOCdevkit/VOC2012', 'VOCdevkit/VOC2012/JPEGImages'])
def test_another_folder_for_voc_is_said(voc, sbd, given):
    with pytest.raises(FileNotFoundError, match=f'VOCDEVKIT: .* has no VOC2012/.*Did you mean {str(voc)!r}?'):
        convert_voc_aug(voc.parent / given, sbd)


@pytest.mark.parametrize('given', ['', 'benchmark_RELEASE/dataset', 'benchmark_RELEASE/dataset/cls'])
def test_another_folder_for_sbd_is_said(voc, sbd, given):
    with pytest.raises(FileNotFoundError, match=f'SBD: .* has no dataset/cls.*Did you mean {str(sbd)!r}?'):
        convert_voc_aug(voc, sbd.parent / given)


def test_an_empty_list_is_said(voc, sbd):
    path = sbd / 'dataset/val.txt'
    path.write_text('\n')
    with pytest.raises(ValueError, match=f'^{re.escape(str(path))} names no image'):
        convert_voc_aug(voc, sbd)


@pytest.mark.parametrize(
    'folder, split, names',
    [
        ('SegmentationClassAug', 'aug', AUG),
        ('SegmentationClassAug', 'trainaug', TRAINAUG),
        ('SegmentationClass', 'train', TRAIN),
    ],
)
def test_mmseg_reads_it(voc, sbd, folder, split, names):
    convert_voc_aug(voc, sbd)
    data = PascalVOCDataset(
        data_root=str(voc / 'VOC2012'),
        ann_file=f'ImageSets/Segmentation/{split}.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path=folder),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')],
    )
    assert len(data) == len(names)
    for sample, name in zip(data, names):
        assert sample['img'].shape[:2] == SIZE
        expected = labels_of(name)
        if folder == 'SegmentationClass' or name == '2007_v2':
            expected = labels_of(f'voc {name}')
            expected[:, -1] = 255
        np.testing.assert_array_equal(sample['gt_seg_map'], expected)


def test_the_tool(voc, sbd, capsys):
    tool = load_tool('data/voc_aug')
    assert tool.main([str(voc), str(sbd), '--workers', '2']) == 0
    assert capsys.readouterr().out.startswith(f'{voc}: 8 files written, 0 there already, 0 failed\n')
    (sbd / 'dataset/cls/2008_s1.mat').unlink()
    assert tool.main([str(voc), str(sbd)]) == 1
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: tool.main([str(sbd), str(voc)]))
    assert ended.value.code == 1 and ': VOCDEVKIT: ' in capsys.readouterr().err
