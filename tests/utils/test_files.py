"""Files are there whole or not at all; one process at a time writes into a folder."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kd_methods.utils.files import (
    atomic_path,
    check_path,
    exclusive_folder,
    folder_meant,
    is_whole_png,
    link_or_copy,
    save_png,
    write_file,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / 'new/folder/a.txt'
    with atomic_path(path) as part:
        part.write_text('all of it')
        assert not path.exists() and part.parent == path.parent
    assert path.read_text() == 'all of it' and names(path.parent) == ['a.txt']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize('before', [None, 'old'])
def test_an_error_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / 'a.txt'
    if before:
        path.write_text(before)
    with pytest.raises(error):
        with atomic_path(path) as part:
            part.write_text('half')
            raise error
    assert names(tmp_path) == (['a.txt'] if before else [])
    assert not before or path.read_text() == before


def kill_while_writing(path):
    """A process of its own writes half a file and is killed."""
    child = os.fork()
    if child == 0:
        with atomic_path(path) as part:
            with part.open('w') as file:
                file.write('half')
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_writers_at_one_time_have_places_of_their_own(tmp_path):
    path = tmp_path / 'shared.txt'
    with atomic_path(path, shared=True) as one, atomic_path(path, shared=True) as other:
        assert one != other
        one.write_text('one'), other.write_text('other')
    assert path.read_text() == 'one' and list(tmp_path.iterdir()) == [path]


def test_the_first_of_several_writers_stays(tmp_path):
    path = tmp_path / 'first.txt'
    with atomic_path(path, shared=True, first=True) as part:
        part.write_text('first')
    with pytest.raises(FileExistsError), atomic_path(path, shared=True, first=True) as part:
        part.write_text('second')
    assert path.read_text() == 'first' and list(tmp_path.iterdir()) == [path]


def test_a_killed_process_leaves_what_was_there_and_the_next_one_tidies_up(tmp_path):
    path = tmp_path / 'a.png'
    path.write_text('old')
    kill_while_writing(path)
    assert path.read_text() == 'old'
    (left,) = {*names(tmp_path)} - {'a.png'}
    assert left.startswith('.') and not left.endswith('.png')  # loaders list files by their suffix
    with atomic_path(path) as part:
        part.write_text('new')
    assert path.read_text() == 'new' and names(tmp_path) == ['a.png']


def test_text(tmp_path):
    write_file('Strasbourg, Zürich\n', tmp_path / 'a.txt')
    assert (tmp_path / 'a.txt').read_text(encoding='utf-8') == 'Strasbourg, Zürich\n' and names(tmp_path) == [
        'a.txt'
    ]


@pytest.mark.parametrize(
    'shape, dtype',
    [((5, 7), np.uint8), ((5, 7, 3), np.uint8), ((5, 7), np.uint16)],
    ids=['labels', 'colour', 'depth'],
)
def test_an_image_comes_back(tmp_path, shape, dtype):
    array = (
        np.random.default_rng(0)
        .integers(0, np.iinfo(dtype).max + 1, (shape[1], shape[0], *shape[2:]))
        .astype(dtype)
    )
    array = array.swapaxes(0, 1)  # not contiguous
    save_png(tmp_path / 'a.png', array, level=1)
    read = np.array(Image.open(tmp_path / 'a.png'))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array)
    assert names(tmp_path) == ['a.png']


def test_a_palette_shows_colours_and_keeps_the_labels(tmp_path):
    labels = np.array([[0, 1], [255, 2]], np.uint8)
    palette = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    save_png(tmp_path / 'a.png', labels, palette)
    image = Image.open(tmp_path / 'a.png')
    np.testing.assert_array_equal(np.array(image), labels)
    np.testing.assert_array_equal(np.array(image.convert('RGB')), palette[labels])


def test_an_image_that_cannot_be_saved_leaves_nothing(tmp_path, monkeypatch):
    def save(image, path, **kwargs):
        path.write_bytes(b'\x89PNG')
        raise OSError('no space left')

    monkeypatch.setattr(Image.Image, 'save', save)
    with pytest.raises(OSError, match='no space'):
        save_png(tmp_path / 'a.png', np.zeros((4, 4), np.uint8))
    assert names(tmp_path) == []


def test_half_a_png_is_told_from_a_whole_one(tmp_path):
    path = tmp_path / 'a.png'
    save_png(path, np.random.default_rng(0).integers(0, 256, (20, 20)).astype(np.uint8))
    whole = path.read_bytes()
    assert is_whole_png(path)
    for length in (0, 1, 8, 20, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        assert not is_whole_png(path), length
    path.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    assert not is_whole_png(path)
    path.write_bytes(b'JFIF' + whole[4:])
    assert not is_whole_png(path)


@pytest.mark.parametrize(
    'mode, channels',
    [('L', 1), ('P', 1), ('RGB', 3), ('1', None), ('I;16', None), ('LA', None), ('RGBA', None)],
)
def test_a_png_is_told_from_one_of_another_kind(tmp_path, mode, channels):
    path = tmp_path / 'a.png'
    Image.new(mode, (5, 4)).save(path)
    assert [number for number in (1, 3) if is_whole_png(path, number)] == ([channels] if channels else [])


@pytest.mark.parametrize('colours', [2, 4, 12, 256])
def test_a_palette_of_any_length_is_of_one_channel(tmp_path, colours):
    path = tmp_path / 'a.png'
    save_png(path, np.ones((4, 5), np.uint8), np.zeros((colours, 3), np.uint8))
    assert is_whole_png(path)


@pytest.mark.parametrize('links', [True, False])
def test_a_file_at_another_place(tmp_path, monkeypatch, links):
    source, pointer, target = tmp_path / 'a', tmp_path / 'pointer', tmp_path / 'below/b'
    source.write_bytes(b'content')
    pointer.symlink_to(source)
    if not links:
        monkeypatch.setattr(os, 'link', lambda *args: (_ for _ in ()).throw(OSError('no links')))
    link_or_copy(pointer, target)
    assert target.read_bytes() == b'content' and not target.is_symlink() and target.samefile(source) == links
    assert [path.name for path in target.parent.iterdir()] == ['b']


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_a_path_that_is_not_there_is_said(tmp_path, kind):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').touch()
    check_path('D', tmp_path / kind, 'Get it.')
    with pytest.raises(FileNotFoundError) as error:
        check_path('D', tmp_path / kind / 'x', 'Get it.', root='data')
    place = f"'{tmp_path}/{kind}/x' (data_root='data') from {os.getcwd()}"
    assert str(error.value) == f'D finds no {place}. Get it.'


@pytest.mark.parametrize(
    'path, args', [('s3://bucket/x', None), ('x', dict(backend='petrel'))], ids=['address', 'backend']
)
def test_a_path_on_another_machine_is_taken_to_be_there(path, args):
    check_path('D', path, 'Get it.', backend_args=args)


@pytest.mark.parametrize('named', ['.', 'a', 'a/b/c', 'a/b/c/d'])
def test_the_folder_that_was_meant(tmp_path, named):
    for name in ('one', 'two'):
        (tmp_path / 'a/b' / name).mkdir(parents=True)
    assert folder_meant(tmp_path / named, ['one', 'two']) == tmp_path / 'a/b'
    assert folder_meant(tmp_path / named, ['one', 'three']) is None


@pytest.mark.parametrize('name', ['', 'new/folder'])
def test_one_run_at_a_time_writes_into_a_folder(tmp_path, name):
    folder = tmp_path / name
    with exclusive_folder(folder):
        assert folder.is_dir()
        with (
            pytest.raises(ValueError, match=f'^{folder}: another process is writing here'),
            exclusive_folder(folder),
        ):
            pass
    with exclusive_folder(folder), exclusive_folder(tmp_path / 'other'):
        pass


def test_a_started_process_holds_the_folder_too(tmp_path):
    with exclusive_folder(tmp_path) as handle:
        child = subprocess.Popen(
            [sys.executable, '-S', '-c', 'input()'], stdin=subprocess.PIPE, pass_fds=(handle,)
        )
    try:
        with pytest.raises(ValueError, match='^in use$'), exclusive_folder(tmp_path, 'in use'):
            pass
    finally:
        child.communicate(b'\n')
    with exclusive_folder(tmp_path):
        pass


def test_a_file_in_place_of_a_folder_is_said(tmp_path):
    path = tmp_path / 'a.txt'
    path.touch()
    for folder in (path, path / 'below'):
        with (
            pytest.raises(ValueError, match=f'^{folder} is a file or lies below one'),
            exclusive_folder(folder),
        ):
            pass
