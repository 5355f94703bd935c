"""COCO-Stuff 10k: labels without gaps, images in the folders of their split."""

import os
import re
from functools import partial

import numpy as np
import pytest
from entry import run_tool
from mmseg.datasets import COCOStuffDataset
from PIL import Image
from raw_coco_stuff10k import ABSENT, PRESENT, SIZE, labels_of, name_of, write_coco_stuff, write_mat
from toys import load_tool

from kd_methods.convert.coco_stuff10k import TRAIN_ID_OF_LABEL, convert_coco_stuff10k
from kd_methods.utils.files import exclusive_folder

TRAIN, TEST = [77, 9, 581921], [428, 30]


@pytest.fixture
def root(tmp_path):
    write_coco_stuff(tmp_path / 'coco_stuff10k', TRAIN, TEST)
    return tmp_path / 'coco_stuff10k'


def mat(root, number):
    return root / f'annotations/{name_of(number)}.mat'


def label(root, number):
    split = 'train' if number in TRAIN else 'test'
    return root / f'annotations/{split}2014/{name_of(number)}_labelTrainIds.png'


def image(root, number):
    split = 'train' if number in TRAIN else 'test'
    return root / f'images/{split}2014/{name_of(number)}.jpg'


def written(root):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.glob('*/*2014/*')}


def complete(root):
    return {path(root, number) for path in (label, image) for number in TRAIN + TEST}


def test_every_pixel_of_every_split(root):
    outcome = convert_coco_stuff10k(root, workers=1)
    assert (outcome.written, outcome.kept, outcome.failed) == (5, 0, {})
    assert outcome.notes == ['5 images are in the lists (the full data has 10000)']
    assert set(written(root)) == complete(root)
    numbers = np.array([PRESENT.index(i) if i in PRESENT else 999 for i in range(183)])
    for number in TRAIN + TEST:
        np.testing.assert_array_equal(np.array(Image.open(label(root, number))), numbers[labels_of(number)])
        assert image(root, number).read_bytes() == (root / f'images/{name_of(number)}.jpg').read_bytes()


def test_the_table():
    """172 labels without gaps, at the places where mmseg's table has them."""
    assert {i for i in range(183) if TRAIN_ID_OF_LABEL[i] < 0} == ABSENT
    known = {
        0: 0,
        11: 11,
        13: 12,
        25: 24,
        27: 25,
        28: 26,
        31: 27,
        44: 40,
        46: 41,
        65: 60,
        67: 61,
        70: 62,
        72: 63,
        82: 73,
        84: 74,
        90: 80,
        92: 81,
        182: 171,
    }
    assert {i: int(TRAIN_ID_OF_LABEL[i]) for i in known} == known


def test_images_take_no_room(root):
    convert_coco_stuff10k(root)
    for number in TRAIN + TEST:
        assert os.path.samefile(image(root, number), root / f'images/{name_of(number)}.jpg')


def test_images_are_copied_where_the_disk_has_no_links(root, monkeypatch):
    def link(*args, **kwargs):
        raise PermissionError('Operation not permitted')

    monkeypatch.setattr(os, 'link', link)
    convert_coco_stuff10k(root)
    before = written(root)
    assert set(before) == complete(root)
    for number in TRAIN + TEST:
        source = root / f'images/{name_of(number)}.jpg'
        assert image(root, number).read_bytes() == source.read_bytes() and not os.path.samefile(
            image(root, number), source
        )
    convert_coco_stuff10k(root)
    assert written(root) == before


def test_symbolic_links_are_followed(root):
    source = root / f'images/{name_of(77)}.jpg'
    source.rename(root / 'elsewhere.jpg')
    source.symlink_to('../elsewhere.jpg')
    convert_coco_stuff10k(root)
    assert os.path.samefile(image(root, 77), root / 'elsewhere.jpg') and not image(root, 77).is_symlink()


def test_a_second_run_changes_nothing(root):
    convert_coco_stuff10k(root)
    before = written(root)
    outcome = convert_coco_stuff10k(root)
    assert (outcome.written, outcome.kept, outcome.exit_code) == (0, 5, 0) and written(root) == before


def test_an_interrupted_run_leaves_no_half_file_and_the_next_one_goes_on(root, stop_and_go_on):
    assert stop_and_go_on(partial(convert_coco_stuff10k, root, workers=1), root, 3).written == 3
    assert set(written(root)) == complete(root)


def test_a_run_that_is_stopped_between_images_goes_on(root, monkeypatch):
    link, calls = os.link, []

    def interrupted(source, target):
        calls.append(source)
        link(source, target)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, 'link', interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert_coco_stuff10k(root)
    assert len(list(root.glob('images/*2014/*'))) == 2
    convert_coco_stuff10k(root)
    assert set(written(root)) == complete(root)


def test_what_a_killed_run_left_is_no_way_into_the_download(root):
    """A link that was left half-way is not written through, also where the image is then copied."""
    source = root / f'images/{name_of(77)}.jpg'
    content = source.read_bytes()
    left = image(root, 77).with_name(f'.{image(root, 77).name}.part')
    left.parent.mkdir(parents=True)
    os.link(root / f'images/{name_of(9)}.jpg', left)
    convert_coco_stuff10k(root)
    assert image(root, 77).read_bytes() == content == source.read_bytes()
    assert (root / f'images/{name_of(9)}.jpg').read_bytes() != content
    assert set(written(root)) == complete(root)


def test_one_run_at_a_time(root):
    with exclusive_folder(root), pytest.raises(ValueError, match=f'{root}: another process is writing here'):
        convert_coco_stuff10k(root)


def test_lists_with_suffixes(root):
    """As saved on Windows; a name twice counts once."""
    lines = [f'{name_of(number)}.jpg\r\n' for number in (*TRAIN, TRAIN[0])]
    (root / 'imageLists/train.txt').write_bytes(''.join(lines).encode())
    outcome = convert_coco_stuff10k(root)
    assert (outcome.written, outcome.failed) == (5, {}) and set(written(root)) == complete(root)


def test_a_newer_image_of_the_same_length_replaces_the_one_that_is_there(root):
    convert_coco_stuff10k(root)
    source = root / f'images/{name_of(9)}.jpg'
    content, stamp = source.read_bytes(), source.stat().st_mtime_ns
    changed = content.replace(b'JFIF\x00\x01\x01', b'JFIF\x00\x01\x02')
    assert len(changed) == len(content) and changed != content
    source.unlink()  # the image in the folder of the split is a link to it
    source.write_bytes(changed)
    os.utime(source, ns=(0, stamp + 1))
    convert_coco_stuff10k(root)
    assert image(root, 9).read_bytes() == changed


def test_half_files_of_another_tool_are_put_right(root):
    convert_coco_stuff10k(root)
    before = written(root)
    for path in (label(root, 9), image(root, 9)):
        path.unlink()  # first, since the image is a link to the download
        path.write_bytes(before[path][0][:-9])
    outcome = convert_coco_stuff10k(root)
    assert (outcome.written, outcome.kept) == (1, 4)
    assert all(path.read_bytes() == content for path, (content, _) in before.items())


@pytest.mark.parametrize('share', [0, 0.2, 0.5])
def test_a_truncated_file_is_named_and_its_image_left_out(root, share):
    path = mat(root, 428)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    outcome = convert_coco_stuff10k(root)
    assert (outcome.written, list(outcome.failed), outcome.exit_code) == (4, [path], 1)
    assert re.match(f'{re.escape(str(path))} .* cannot be read as a MATLAB file', outcome.failed[path])
    assert set(written(root)) == complete(root) - {label(root, 428), image(root, 428)}
    path.write_bytes(whole)
    outcome = convert_coco_stuff10k(root)
    assert (outcome.written, outcome.kept, outcome.exit_code) == (1, 4, 0) and set(written(root)) == complete(
        root
    )


@pytest.mark.parametrize('value', [12, 91, 183])
def test_wrong_labels_are_named(root, value):
    labels = labels_of(9)
    labels[3, 3] = value
    write_mat(mat(root, 9), labels)
    outcome = convert_coco_stuff10k(root)
    assert list(outcome.failed) == [mat(root, 9)]
    assert (
        f'{mat(root, 9)} holds the labels {value}, expected labels from 0 to 182 w'
        in outcome.failed[mat(root, 9)]
    )
    assert set(written(root)) == complete(root) - {label(root, 9), image(root, 9)}


def test_a_missing_annotation_is_named(root):
    mat(root, 77).unlink()
    assert convert_coco_stuff10k(root).failed == {mat(root, 77): f'{mat(root, 77)}: no such file'}


def test_a_missing_image_is_named_also_when_its_labels_are_there(root):
    source = root / f'images/{name_of(77)}.jpg'
    content = source.read_bytes()
    source.unlink()
    assert convert_coco_stuff10k(root).failed == {mat(root, 77): f'{mat(root, 77)}: {source}: no such file'}
    source.write_bytes(content)
    convert_coco_stuff10k(root)
    source.unlink()
    image(root, 77).unlink()
    outcome = convert_coco_stuff10k(root)
    assert (outcome.kept, outcome.failed) == (5, {source: f'{source}: no such file'})


@pytest.mark.parametrize('share', [0, 0.5, 0.995])
def test_a_truncated_image_is_named_and_left_out(root, share):
    source = root / f'images/{name_of(77)}.jpg'
    whole = source.read_bytes()
    source.write_bytes(whole[: int(share * len(whole))])
    outcome = convert_coco_stuff10k(root)
    assert list(outcome.failed) == [mat(root, 77)] and outcome.written == 4
    assert re.search(f'{re.escape(str(source))} .* cannot be read as an image', outcome.failed[mat(root, 77)])
    assert set(written(root)) == complete(root) - {label(root, 77), image(root, 77)}


def test_an_image_of_another_size_is_named(root):
    source = root / f'images/{name_of(30)}.jpg'
    Image.new('RGB', SIZE).save(source)  # its sides in the wrong order
    failed = convert_coco_stuff10k(root).failed
    assert list(failed) == [mat(root, 30)]
    assert f'{source}: the image is 16 x 13 (height x width), its labels are 13 x 16' in failed[mat(root, 30)]


@pytest.mark.parametrize('given', ['', 'coco_stuff10k/annotations'])
def test_another_folder_is_said(root, given):
    with pytest.raises(
        FileNotFoundError, match=f'ROOT: .* has no imageLists/train.txt.*Did you mean {str(root)!r}?'
    ):
        convert_coco_stuff10k(root.parent / given)


def test_mmseg_reads_it(root):
    convert_coco_stuff10k(root)
    data = COCOStuffDataset(
        data_root=str(root),
        data_prefix=dict(img_path='images/train2014', seg_map_path='annotations/train2014'),
        reduce_zero_label=True,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')],
    )
    assert len(data) == 3
    for sample, number in zip(data, sorted(TRAIN)):
        expected = np.array([PRESENT.index(i) - 1 if i else 255 for i in labels_of(number).flat]).reshape(
            SIZE
        )
        np.testing.assert_array_equal(sample['gt_seg_map'], expected)
    names = {1: 'person', 13: 'stop sign', 90: 'toothbrush', 92: 'banner', 182: 'wood'}  # of official labels
    assert {i: data.metainfo['classes'][TRAIN_ID_OF_LABEL[i] - 1] for i in names} == names


def test_the_tool(root, capsys):
    tool = load_tool('data/coco_stuff10k')
    assert tool.main([str(root), '--workers', '2']) == 0
    assert capsys.readouterr().out.startswith(f'{root}: 5 files written, 0 there already, 0 failed\n')
    mat(root, 9).unlink()
    assert tool.main([str(root)]) == 1
    (root / 'imageLists/test.txt').write_text('')
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: tool.main([str(root)]))
    assert ended.value.code == 1 and 'test.txt names no image' in capsys.readouterr().err
