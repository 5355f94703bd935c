"""What a directory of data says of itself."""

import json

import pytest

from kd_methods.utils.manifest import matches_manifest

RECORD = dict(seed=1, train=3)


def made(out, **kwargs):
    return matches_manifest(out, 'made.json', RECORD, 'other things', **kwargs)


def test_nothing_is_there_yet(tmp_path):
    assert made(tmp_path) is False and made(tmp_path / 'absent') is False


def test_the_same_is_there(tmp_path):
    (tmp_path / 'made.json').write_text(json.dumps(RECORD))
    assert made(tmp_path) is True and made(tmp_path, overwrite=True) is True


def test_something_else_is_there(tmp_path):
    (tmp_path / 'made.json').write_text(json.dumps(dict(seed=0, train=3, depth=True)))
    with pytest.raises(
        ValueError,
        match=r'out: .* holds other things \(depth True there, None asked; seed 0 there, 1 asked\)',
    ):
        made(tmp_path)
    assert made(tmp_path, overwrite=True) is False


def test_files_of_which_nothing_is_known(tmp_path):
    (tmp_path / 'photo.jpg').touch()
    for overwrite in (False, True):
        with pytest.raises(
            ValueError,
            match=r"out: .* holds no made.json \(found \['photo.jpg'\]\): pass an empty or a new --out",
        ):
            made(tmp_path, overwrite=overwrite, left=('part',))
    assert made(tmp_path, left=('photo.jpg',)) is False and made(tmp_path, left=None) is False


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match='out: .*file is a file, expected a directory'):
        made(tmp_path / 'file')
