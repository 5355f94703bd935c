"""Conversions of many files: what is done stays, what fails is named, the rest goes on."""

import os
import re

import numpy as np
import pytest
import scipy.io
from PIL import Image

from kd_methods.convert.base import (
    Outcome,
    check_folder,
    check_image,
    convert_files,
    image_size,
    read_label_image,
    read_mat,
    read_names,
    translate,
)
from kd_methods.utils.files import save_png


def convert(source, target):
    """A text file with a number becomes an image of it."""
    text = source.read_text()
    if text == 'bug':
        raise AttributeError('bug')
    save_png(target, np.full((2, 3), int(text), np.uint8))


@pytest.fixture
def pairs(tmp_path):
    pairs = []
    for i in range(12):
        source = tmp_path / f'{i:02d}.txt'
        source.write_text(str(i))
        pairs.append((source, tmp_path / f'out/{i:02d}.png'))
    return pairs


def values(pairs):
    return [int(np.array(Image.open(target))[0, 0]) for _, target in pairs]


def stamps(pairs):
    return [target.stat().st_mtime_ns for _, target in pairs]


@pytest.mark.parametrize('workers', [1, 2])
def test_what_is_done_stays(pairs, workers):
    assert convert_files(convert, pairs, 'numbers', workers) == Outcome(written=12)
    assert values(pairs) == list(range(12))
    before = stamps(pairs)
    assert convert_files(convert, pairs, 'numbers', workers) == Outcome(kept=12)
    assert stamps(pairs) == before


def test_what_is_missing_older_or_half_is_converted(pairs):
    convert_files(convert, pairs, 'numbers')
    before = stamps(pairs)
    pairs[1][1].unlink()
    whole = pairs[3][1].read_bytes()
    pairs[3][1].write_bytes(whole[: len(whole) // 2])
    pairs[5][0].write_text('77')
    os.utime(pairs[5][0], ns=(0, before[5] + 1))
    assert convert_files(convert, pairs, 'numbers') == Outcome(written=3, kept=9)
    assert values(pairs) == [0, 1, 2, 3, 4, 77, *range(6, 12)]
    assert [i for i in range(12) if stamps(pairs)[i] != before[i]] == [1, 3, 5]


def test_what_is_as_old_as_its_source_stays(pairs):
    convert_files(convert, pairs, 'numbers')
    for source, target in pairs:
        os.utime(source, ns=(0, 10**18))
        os.utime(target, ns=(0, 10**18))
    assert convert_files(convert, pairs, 'numbers') == Outcome(kept=12)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA', 'I;16', '1'])
def test_labels_of_another_kind_are_converted_anew(pairs, mode):
    convert_files(convert, pairs, 'numbers')
    Image.new(mode, (3, 2)).save(pairs[4][1])
    Image.new('P', (3, 2)).save(pairs[5][1])  # may be labels
    assert convert_files(convert, pairs, 'numbers') == Outcome(written=1, kept=11)
    assert Image.open(pairs[4][1]).mode == 'L' and values(pairs)[4] == 4


def test_all_anew(pairs):
    convert_files(convert, pairs, 'numbers')
    for source, _ in pairs:
        source.write_text('5')
        os.utime(source, ns=(0, 0))
    assert convert_files(convert, pairs, 'numbers', overwrite=True) == Outcome(written=12)
    assert values(pairs) == [5] * 12


@pytest.mark.parametrize('workers', [1, 2])
def test_a_failure_is_named_and_alone(pairs, workers):
    pairs[2][0].write_text('two')
    pairs[9][0].unlink()
    outcome = convert_files(convert, pairs, 'numbers', workers)
    assert (outcome.written, outcome.kept, list(outcome.failed), outcome.exit_code) == (
        10,
        0,
        [pairs[2][0], pairs[9][0]],
        1,
    )
    assert outcome.failed[pairs[2][0]] == f"{pairs[2][0]}: invalid literal for int() with base 10: 'two'"
    assert outcome.failed[pairs[9][0]].count(str(pairs[9][0])) == 1  # Python's own sentence names it
    pairs[2][0].write_text('2')
    pairs[9][0].write_text('9')
    again = convert_files(convert, pairs, 'numbers', workers)
    assert again == Outcome(written=2, kept=10) and again.exit_code == 0
    assert values(pairs) == list(range(12))


def test_a_bug_is_no_failure_of_a_file(pairs):
    pairs[2][0].write_text('bug')
    with pytest.raises(AttributeError):
        convert_files(convert, pairs, 'numbers')


def test_the_bar_is_complete_and_only_there_for_work(pairs, capfd):
    convert_files(convert, pairs, 'numbers', 2)
    bar = capfd.readouterr().err
    assert 'numbers' in bar and '12/12' in bar
    convert_files(convert, pairs, 'numbers', 2)
    assert capfd.readouterr().err == ''


def test_outcomes_add_up(tmp_path):
    total = Outcome(1, 2, {tmp_path / 'a': 'a is bad'}, ['one']) + Outcome(
        3, 4, {tmp_path / 'b': 'b is bad'}, ['two']
    )
    assert total == Outcome(4, 6, {tmp_path / 'a': 'a is bad', tmp_path / 'b': 'b is bad'}, ['one', 'two'])


def test_the_text_of_an_outcome(tmp_path):
    assert str(Outcome(3, 4)) == '3 files written, 4 there already, 0 failed'
    lines = str(Outcome(3, 4, {tmp_path / str(i): f'{i} is bad' for i in range(12)}, ['a note'])).splitlines()
    assert lines[:3] == ['3 files written, 4 there already, 12 failed', 'a note', '  0 is bad']
    assert lines[-2:] == [
        '  ... and 2 more',
        'Everything else is in place. Put these right and run the same command again: it converts only them.',
    ]
    assert 'Everything else' not in str(Outcome(failed={tmp_path: 'bad'}))


@pytest.fixture
def tree(tmp_path):
    (tmp_path / 'data/set/labels/train').mkdir(parents=True)
    (tmp_path / 'data/set/list.txt').write_text('a')
    return tmp_path / 'data'


def test_the_right_folder(tree):
    assert check_folder('ROOT', str(tree / 'set'), ['labels', 'list.txt']) == tree / 'set'


@pytest.mark.parametrize('given', ['', '..', 'set/labels', 'set/labels/train'])
def test_a_folder_nearby_is_told(tree, given):
    given = (tree / given).resolve()
    with pytest.raises(FileNotFoundError, match=re.escape(f'Did you mean {str(tree / "set")!r}?')) as caught:
        check_folder('ROOT', given, ['labels', 'list.txt'])
    assert str(caught.value).startswith(f'ROOT: {str(given)!r} has no labels and no list.txt, it holds ')


def test_another_folder_is_described(tree):
    for i in range(7):
        (tree / f'set/file {i}').touch()
    with pytest.raises(
        FileNotFoundError, match='has no depths, it holds file 0, .*, file 4, .*9 in all.*--help says where'
    ):
        check_folder('ROOT', tree / 'set', ['labels', 'depths'])
    with pytest.raises(FileNotFoundError, match='it holds nothing'):
        check_folder('ROOT', tree / 'set/labels/train', ['depths'])
    with pytest.raises(FileNotFoundError, match="ROOT: the converter finds no '.*/other'.*--help says where"):
        check_folder('ROOT', tree / 'other', ['labels'])


def test_names(tmp_path):
    path = tmp_path / 'train.txt'
    path.write_bytes(b'2007_000032\r\n\n 2007_000039 \n')
    assert read_names(path) == ['2007_000032', '2007_000039']
    path.write_bytes('\ufeff2007_000032\r\n2007_000039\r\n'.encode())  # as saved by an editor on Windows
    assert read_names(path) == ['2007_000032', '2007_000039']
    path.write_bytes('2007_000032\n'.encode('utf-16'))
    with pytest.raises(
        ValueError, match=f'{path} .* cannot be read as text in UTF-8: .*Unpack or download it again'
    ):
        read_names(path)
    path.write_text('\n \n')
    with pytest.raises(ValueError, match=re.escape(f'{path} names no image')):
        read_names(path)


def test_a_variable_of_a_mat_file(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, dict(S=np.arange(6).reshape(2, 3), T=np.ones(3)))
    np.testing.assert_array_equal(read_mat(path, 'S'), [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} has no variable 'R', it holds .'S', 'T'."):
        read_mat(path, 'R')
    with pytest.raises(FileNotFoundError, match='b.mat: no such file'):
        read_mat(tmp_path / 'b.mat', 'S')


@pytest.mark.parametrize('share', [0, 0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize('compressed', [False, True])
def test_a_truncated_mat_file_is_named(tmp_path, share, compressed):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(
        path, dict(S=np.random.default_rng(0).integers(0, 99, (40, 50))), do_compression=compressed
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        ValueError, match=f'{re.escape(str(path))} .{int(share * len(whole))} bytes. cannot be read'
    ):
        read_mat(path, 'S')


def test_label_images_and_sizes(tmp_path):
    labels = np.random.default_rng(0).integers(0, 21, (50, 70)).astype(np.uint8)
    path = tmp_path / 'a.png'
    for palette in (None, np.zeros((256, 3), np.uint8)):
        save_png(path, labels, palette)
        np.testing.assert_array_equal(read_label_image(path), labels)
    assert image_size(path) == (50, 70)
    check_image(path, (50, 70))
    with pytest.raises(
        ValueError, match=f'{re.escape(str(path))}: the image is 50 x 70 .*, its labels are 70 x 50'
    ):
        check_image(path, (70, 50))
    path.write_bytes(path.read_bytes()[:-60])
    check_image(path, (50, 70), decode=False)
    with pytest.raises(ValueError, match='a.png .* cannot be read as an image'):
        check_image(path, (50, 70))
    path.write_bytes(path.read_bytes()[:200])
    for read in (read_label_image, lambda p: image_size(tmp_path / 'b.png')):
        with pytest.raises(
            (ValueError, FileNotFoundError), match='a.png .200 bytes. cannot be read|b.png: no such file'
        ):
            read(path)


def test_translate():
    table = np.array([255, 7, -1, 3])
    for dtype in (np.uint8, np.int32, np.float64):
        new = translate(np.array([[0, 1], [3, 3]], dtype), table, 'a.png', 'ids')
        assert new.dtype == np.uint8 and new.tolist() == [[255, 7], [3, 3]]


@pytest.mark.parametrize(
    'labels, text',
    [
        ([[0, 2]], 'a.png holds the labels 2, expected ids'),
        ([[-1, 1]], 'a.png holds the labels -1, expected ids'),
        ([list(range(9))], 'a.png holds the labels 2, 4, 5, 6, 7, ... (6 in all), expected ids'),
        ([[0.5, 1]], 'a.png holds the labels 0.5, expected ids'),
        ([[float('nan'), 1]], 'a.png holds the labels nan, expected ids'),
        ([0, 1], 'a.png holds int64 of shape (2,), expected ids, height x width'),
        ([[[0, 1, 1]]], 'a.png holds int64 of shape (1, 1, 3), expected ids, height x width'),
        ([[False, True]], 'a.png holds bool of shape (1, 2), expected ids, height x width'),
        ([[]], 'a.png holds float64 of shape (1, 0), expected ids, height x width'),
    ],
    ids=['absent', 'negative', 'many', 'fraction', 'nan', 'vector', 'colour', 'bits', 'empty'],
)
def test_other_labels_are_named(labels, text):
    with pytest.raises(ValueError) as caught:
        translate(np.array(labels), np.array([255, 7, -1, 3]), 'a.png', 'ids')
    assert str(caught.value) == text
