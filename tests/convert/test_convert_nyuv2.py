"""Conversion of NYUv2, from small files in the form of the official ones."""

import json

import h5py
import mmcv
import numpy as np
import pytest
import scipy.io
from entry import run_tool
from raw_nyuv2 import COUNT, HEIGHT, MAPPING, TEST, TRAIN, WIDTH, official, write_mat, write_splits
from toys import load_tool

from kd_methods.convert import nyuv2 as nyuv2_convert
from kd_methods.convert.nyuv2 import RECORD, convert_nyuv2, millimetres
from kd_methods.datasets.nyuv2 import TO_13
from kd_methods.utils.files import exclusive_folder


@pytest.fixture
def files(tmp_path):
    """The three files, as keyword arguments."""
    write_mat(tmp_path / 'labeled.mat', official())
    scipy.io.savemat(
        tmp_path / 'mapping.mat',
        dict(mapClass=MAPPING.astype(np.uint8)[None], className=np.array(['x'], object)),
    )
    write_splits(tmp_path / 'splits.mat')
    return dict(
        mat=tmp_path / 'labeled.mat', classes=tmp_path / 'mapping.mat', splits=tmp_path / 'splits.mat'
    )


def read(path):
    return mmcv.imread(str(path), flag='unchanged')


@pytest.mark.parametrize('raw', [False, True])
def test_every_pixel(files, tmp_path, raw):
    """Each image lies in its split under its number from 1, upright, with its own depth and labels."""
    assert convert_nyuv2(**files, out=tmp_path / 'out', raw_depth=raw, log=[].append)
    arrays = official()
    for split, numbers in dict(train=TRAIN, test=TEST).items():
        for folder in ('images', 'depths', 'labels40', 'labels13'):
            there = sorted(path.name for path in (tmp_path / 'out' / folder / split).iterdir())
            assert there == [f'{number:05d}.png' for number in numbers]
        for number in numbers:
            i, name = number - 1, f'{split}/{number:05d}.png'
            image = read(tmp_path / 'out/images' / name)
            np.testing.assert_array_equal(image[..., ::-1], arrays['images'][i])  # read as BGR
            depth = read(tmp_path / 'out/depths' / name)
            assert depth.dtype == np.uint16
            metres = arrays['rawDepths' if raw else 'depths'][i]
            assert abs(depth / 1000 - metres).max() <= 0.0005 + 1e-6
            assert (depth[2, 3] == 0) == raw
            label = read(tmp_path / 'out/labels40' / name)
            assert label.dtype == np.uint8 and label.shape == (HEIGHT, WIDTH)
            expected = [
                [MAPPING[fine - 1] if fine else 0 for fine in row] for row in arrays['labels'][i].astype(int)
            ]
            np.testing.assert_array_equal(label, expected)
            assert label[0, 0] == MAPPING[893] and label[0, 1] == MAPPING[0] and (label[1, 2:5] == 0).all()
            np.testing.assert_array_equal(read(tmp_path / 'out/labels13' / name), TO_13[label])


def test_the_13_classes():
    """Labels 0 to 40 in terms of the 13, as the published mapping numbers them."""
    assert TO_13.tolist() == [
        0,
        12,
        5,
        6,
        1,
        4,
        9,
        10,
        12,
        13,
        6,
        8,
        6,
        13,
        10,
        6,
        13,
        6,
        7,
        7,
        5,
        7,
        3,
        2,
        6,
        11,
        7,
        7,
        7,
        7,
        7,
        7,
        6,
        7,
        7,
        7,
        7,
        7,
        7,
        6,
        7,
    ]


def test_millimetres():
    metres = np.array([0, -1, np.nan, np.inf, -np.inf, 0.7136, 1.2345678, 9.9994, 65.535, 70], np.float32)
    assert millimetres(metres).tolist() == [0, 0, 0, 0, 0, 714, 1235, 9999, 65535, 65535]
    assert millimetres(metres).dtype == np.uint16


def test_small_files_may_be_of_version_7_3(files, tmp_path):
    convert_nyuv2(**files, out=tmp_path / 'a', log=[].append)
    for name, content in dict(
        classes=dict(mapClass=MAPPING[:, None]),
        splits=dict(trainNdxs=np.array([TRAIN]), testNdxs=np.array([TEST])),
    ).items():
        files[name] = tmp_path / f'{name}73.mat'
        with h5py.File(files[name], 'w') as file:
            for key, value in content.items():
                file[key] = value
    assert not convert_nyuv2(**files, out=tmp_path / 'a', log=[].append)  # the same content


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_finished_is_left_alone(files, tmp_path):
    out = tmp_path / 'out'
    assert convert_nyuv2(**files, out=out, log=[].append)
    assert json.loads((out / RECORD).read_text())['train'] == 3
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [RECORD, 'images', 'depths', 'labels40', 'labels13']
    )
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    assert not convert_nyuv2(**files, out=out, log=[].append)
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


def test_other_arguments_need_overwrite(files, tmp_path):
    out = tmp_path / 'out'
    convert_nyuv2(**files, out=out, log=[].append)
    filled = tree(out)
    (out / 'images/train/stale.png').write_bytes(b'')
    with pytest.raises(
        ValueError, match='out: .* another conversion .raw_depth False there, True asked.*--overwrite'
    ):
        convert_nyuv2(**files, out=out, raw_depth=True, log=[].append)
    assert convert_nyuv2(**files, out=out, raw_depth=True, overwrite=True, log=[].append)
    raw = tree(out)
    assert raw.keys() == filled.keys()
    assert {name.split('/')[0] for name in raw if raw[name] != filled[name]} == {'depths', RECORD}


def test_other_splits_are_another_conversion(files, tmp_path):
    convert_nyuv2(**files, out=tmp_path / 'out', log=[].append)
    write_splits(files['splits'], [1, 3, 6], [2, 4, 5])
    with pytest.raises(ValueError, match='another conversion .splits_sha256'):
        convert_nyuv2(**files, out=tmp_path / 'out', log=[].append)


def test_one_run_at_a_time_writes_into_a_folder(files, tmp_path):
    out = tmp_path / 'out'
    with exclusive_folder(out), pytest.raises(ValueError, match='another process is writing here'):
        convert_nyuv2(**files, out=out, log=[].append)
    assert not any(out.iterdir())
    assert convert_nyuv2(**files, out=out, log=[].append)


class Stop(Exception):
    """What the test stops a run with."""


@pytest.mark.parametrize('finished_before', [False, True])
def test_stopped_while_writing(files, tmp_path, monkeypatch, finished_before):
    """No folder of the data set holds a part of the images; an older conversion stays until the new one is
    complete.
    """
    convert_nyuv2(**files, out=tmp_path / 'whole', log=[].append)
    out, old = tmp_path / 'out', {}
    if finished_before:
        convert_nyuv2(**files, out=out, raw_depth=True, log=[].append)
        old = tree(out)
    write = nyuv2_convert._write_image

    def stop_at_4(data, number, *args):
        if number == 4:
            raise Stop
        write(data, number, *args)

    with monkeypatch.context() as patch:
        patch.setattr(nyuv2_convert, '_write_image', stop_at_4)
        with pytest.raises(Stop):
            convert_nyuv2(**files, out=out, overwrite=finished_before, log=[].append)
    assert {name: content for name, content in tree(out).items() if not name.startswith('unfinished/')} == old
    assert len(list(out.glob('unfinished/*/*/*.png'))) == 4 * 3
    assert convert_nyuv2(**files, out=out, overwrite=finished_before, log=[].append)
    assert tree(out) == tree(tmp_path / 'whole')
    assert not (out / 'unfinished').exists()


@pytest.mark.parametrize('moves', range(5))
@pytest.mark.parametrize('finished_before', [False, True])
def test_stopped_while_moving(files, tmp_path, monkeypatch, moves, finished_before):
    convert_nyuv2(**files, out=tmp_path / 'whole', log=[].append)
    out = tmp_path / 'out'
    if finished_before:
        convert_nyuv2(**files, out=out, raw_depth=True, log=[].append)
    replace, done = nyuv2_convert.os.replace, []

    def stop(*args):
        if len(done) == moves:
            raise Stop
        done.append(replace(*args))

    with monkeypatch.context() as patch:
        patch.setattr(nyuv2_convert.os, 'replace', stop)
        with pytest.raises(Stop):
            convert_nyuv2(**files, out=out, overwrite=finished_before, log=[].append)
    assert not (out / RECORD).exists()
    assert convert_nyuv2(**files, out=out, log=[].append)
    assert tree(out) == tree(tmp_path / 'whole')


def test_foreign_files_are_left_alone(files, tmp_path):
    out = tmp_path / 'out'
    (out / 'images').mkdir(parents=True)  # the name of one of our folders, but no run of ours has been here
    (out / 'images/mine.png').write_bytes(b'mine')
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"out: .* holds no nyuv2.json \(found \['images'\]\)"):
            convert_nyuv2(**files, out=out, overwrite=overwrite, log=[].append)
    (out / 'unfinished').mkdir()
    (out / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match=r"found \['notes.txt'\]"):
        convert_nyuv2(**files, out=out, log=[].append)
    assert (out / 'images/mine.png').read_bytes() == b'mine'
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match='file is a file or lies below one'):
        convert_nyuv2(**files, out=tmp_path / 'file', log=[].append)


def refused(files, tmp_path, error=ValueError, **keys):
    """The message; nothing has been written."""
    with pytest.raises(error) as info:
        convert_nyuv2(**{**files, **keys}, out=tmp_path / 'out', log=[].append)
    assert not (tmp_path / 'out').exists()
    return str(info.value)


@pytest.mark.parametrize('argument', ['mat', 'classes', 'splits'])
def test_missing_file(files, tmp_path, argument):
    message = refused(files, tmp_path, FileNotFoundError, **{argument: tmp_path / 'gone.mat'})
    assert message.startswith(f'{argument}: no file') and 'gone.mat' in message and '--help' in message


@pytest.mark.parametrize(
    'content, found',
    [
        (b'<!DOCTYPE html><html>404</html>', 'a web page'),
        (b'', 'an empty file'),
        (b'MATLAB 7.3 MAT-file, Platform', "begins with b'MATLAB 7.3"),
        (None, 'a MATLAB file of version 5'),
    ],
)
def test_mat_is_no_hdf5(files, tmp_path, content, found):
    path = tmp_path / 'other.mat'
    if content is None:
        path = files['classes']
    else:
        path.write_bytes(content)
    message = refused(files, tmp_path, mat=path)
    assert (
        message.startswith('mat: ')
        and path.name in message
        and 'is no MATLAB v7.3' in message
        and found in message
    )


def test_mat_was_cut_off(files, tmp_path):
    content = files['mat'].read_bytes()
    files['mat'].write_bytes(content[: len(content) // 2])
    message = refused(files, tmp_path)
    assert (
        message.startswith('mat: ') and 'stopped early' in message and f'{len(content) // 2} bytes' in message
    )


@pytest.mark.parametrize('argument', ['classes', 'splits'])
def test_small_file_is_no_mat(files, tmp_path, argument):
    files[argument].write_bytes(b'\n<html>' + b' ' * 600)
    message = refused(files, tmp_path)
    assert message.startswith(f'{argument}: ') and files[argument].name in message and 'a web page' in message
    files[argument].write_bytes(b'MATLAB 5.0 MAT-file'.ljust(126) + b'\x01IM' + b'\x07' * 50)
    assert 'no MATLAB file that can be read, but a MATLAB file of version 5' in refused(files, tmp_path)


def test_missing_variables(files, tmp_path):
    assert "has no variable 'mapClass', it holds ['testNdxs', 'trainNdxs']" in refused(
        files, tmp_path, classes=files['splits']
    )
    assert refused(files, tmp_path, splits=files['mat']).startswith('splits: ')
    arrays = official()
    del arrays['labels']
    write_mat(files['mat'], arrays)
    assert "has no variable 'labels', it holds ['accelData', 'depths'" in refused(files, tmp_path)
    del arrays['rawDepths']
    write_mat(files['mat'], dict(arrays, labels=official()['labels']))
    assert "has no variable 'rawDepths'" in refused(files, tmp_path, raw_depth=True)


@pytest.mark.parametrize(
    'name, change, message',
    [
        ('images', lambda a: a.astype(np.float32), 'images of .* is float32'),
        ('images', lambda a: a.astype(np.uint16), 'images of .* is uint16'),
        (
            'images',
            lambda a: a[..., :2],
            r'images of .* shape \(6, 2, 10, 8\), expected uint8, images x 3 x width x height',
        ),
        ('images', lambda a: a[..., 0], 'images of .* expected uint8'),
        ('depths', lambda a: a.astype(np.uint16), 'depths of .* is uint16.* expected float32'),
        ('labels', lambda a: a.astype(np.float64), 'labels of .* is float64.* expected uint16'),
        (
            'depths',
            lambda a: a[:5],
            'do not belong together.*images 6 x 10 x 8, depths 5 x 10 x 8, labels 6 x 10 x 8',
        ),
        ('labels', lambda a: a.transpose(0, 2, 1), 'do not belong together.*labels 6 x 8 x 10'),
    ],
)
def test_wrong_arrays(files, tmp_path, name, change, message):
    arrays = official()
    write_mat(files['mat'], {**arrays, name: change(arrays[name])})
    with pytest.raises(ValueError, match='mat: .*' + message):
        convert_nyuv2(**files, out=tmp_path / 'out', log=[].append)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'train, test, message',
    [
        ([1, 2, 5], [0, 3, 4], r'images 1 to 6 of mat once. left out: 6; not in mat: 0. Images count from 1'),
        ([2, 3, 6], [1, 4, 7], 'left out: 5; not in mat: 7'),
        ([2, 3, -6], [1, 4, 5], 'left out: 6; not in mat: -6'),
        ([2, 3, 6, 3], [1, 4, 5], 'once. named twice: 3'),
        ([2, 3, 6], [1, 3, 4, 5], 'once. named twice: 3'),
        ([2, 3], [1, 4, 5], 'once. left out: 6'),
        ([2, 3, 6.5], [1, 4, 5], 'expected a vector of integers'),
        ([], [1, 2, 3, 4, 5, 6], 'trainNdxs of .* expected a vector of integers'),
    ],
)
def test_wrong_splits(files, tmp_path, train, test, message):
    write_splits(files['splits'], train, test)
    with pytest.raises(ValueError, match='splits: .*' + message):
        convert_nyuv2(**files, out=tmp_path / 'out', log=[].append)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'mapping, message',
    [
        (np.full(894, 41), 'mapClass of .* holds 41 to 41, expected classes from 1 to 40'),
        (np.full(894, -1), 'holds -1 to -1'),
        (np.ones((894, 2)), r'shape \(894, 2\), expected a vector'),
        (np.array(['wall']), 'expected a vector of integers'),
    ],
)
def test_wrong_mapping(files, tmp_path, mapping, message):
    scipy.io.savemat(files['classes'], dict(mapClass=mapping))
    with pytest.raises(ValueError, match='classes: .*' + message):
        convert_nyuv2(**files, out=tmp_path / 'out', log=[].append)
    assert not (tmp_path / 'out').exists()


def test_mapping_is_too_short(files, tmp_path):
    scipy.io.savemat(files['classes'], dict(mapClass=MAPPING[:893]))
    with pytest.raises(
        ValueError, match='classes: mapClass has 893 entries, but image 1 of mat holds the label 894'
    ):
        convert_nyuv2(**files, out=tmp_path / 'out', log=[].append)
    assert not (tmp_path / 'out' / RECORD).exists()


def test_broken_block_inside(files, tmp_path):
    """A file whose header is whole and whose data are not."""
    arrays = official()
    with h5py.File(files['mat'], 'w') as file:
        for name, array in arrays.items():
            array = array.transpose(0, *range(array.ndim - 1, 0, -1))
            file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), compression='gzip')
        where = file['labels'].id.get_chunk_info(2)
    with files['mat'].open('r+b') as file:
        file.seek(where.byte_offset)
        file.write(b'\xff' * where.size)
    with pytest.raises(ValueError, match='mat: image 3 of .*labeled.mat.* cannot be read'):
        convert_nyuv2(**files, out=tmp_path / 'out', log=[].append)


def test_command_line(files, tmp_path, capsys):
    tool = load_tool('data/nyuv2')
    argv = [text for key, value in files.items() for text in (f'--{key}', str(value))] + [
        '--out',
        str(tmp_path / 'out'),
    ]
    assert tool.main(argv) == 0
    out = capsys.readouterr().out
    assert (
        'note: 3 train and 3 test images; the full data set has 795 and 654' in out and 'converted in' in out
    )
    assert len(list(tmp_path.glob('out/*/*/*.png'))) == 4 * COUNT
    assert tool.main(argv) == 0
    assert 'nothing to do' in capsys.readouterr().out
    with pytest.raises(ValueError, match='out: '):
        tool.main([*argv, '--raw-depth'])
    assert tool.main([*argv, '--raw-depth', '--overwrite']) == 0
    assert json.loads((tmp_path / 'out' / RECORD).read_text())['raw_depth'] is True


def test_a_mistake_ends_in_a_sentence_and_exit_code_1(tmp_path, capsys):
    argv = ['--mat', str(tmp_path / 'gone'), '--classes', 'b', '--splits', 'c', '--out', 'd']
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: load_tool('data/nyuv2').main(argv))
    assert ended.value.code == 1 and ': mat: no file' in capsys.readouterr().err
