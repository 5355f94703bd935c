"""Convert the official files of NYUv2 into the folders that ``NYUv2Dataset`` reads.

mmseg's ``nyu.py`` sorts another archive, for the estimation of depth, which has no labels of classes.
"""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from kd_methods.convert.inside import check_inside
from kd_methods.datasets.nyuv2 import CLASSES, FOLDERS, TO_13
from kd_methods.utils.files import exclusive_folder
from kd_methods.utils.manifest import matches_manifest
from kd_methods.utils.text import first_few

RECORD = 'nyuv2.json'  # written last: a directory with it is complete
PART = 'unfinished'  # below the directory, so that it moves into place within one disk
VERSION = 1  # raise it when the same files begin to give other images
INDICES = dict(train='trainNdxs', test='testNdxs')
OFFICIAL = dict(train=795, test=654)


def millimetres(metres: np.ndarray) -> np.ndarray:
    """Depth in metres -> rounded millimetres as uint16, 0 where it is not finite or not positive."""
    metres = np.where(np.isfinite(metres), metres, 0).astype(np.float64)
    return np.clip(np.rint(metres * 1000), 0, 65535).astype(np.uint16)


def _check_file(argument: str, path: Path) -> None:
    if not path.is_file():
        where = '`python tools/data/nyuv2.py --help` says where to get it'
        raise FileNotFoundError(f'{argument}: no file {str(path)!r}. {where}')


def _what_is(path: Path) -> str:
    """What a file seems to be that is not what it should be."""
    with path.open('rb') as file:
        head = file.read(64)
    if not head:
        return 'an empty file'
    if head.lstrip().startswith(b'<'):
        return 'a web page: the download failed, get it again'
    if head.startswith(b'MATLAB 5.0'):
        return 'a MATLAB file of version 5'
    return f'a file that begins with {head[:20]!r}: a download that stopped early? Get it again'


def _open_hdf5(argument: str, path: Path) -> h5py.File:
    size = path.stat().st_size
    if not h5py.is_hdf5(path):
        text = 'no MATLAB v7.3 (HDF5) file, as the official nyu_depth_v2_labeled.mat is'
        raise ValueError(f'{argument}: {str(path)!r} is {text}, but {_what_is(path)} ({size} bytes)')
    try:
        return h5py.File(path, 'r')
    except OSError as error:
        text = f'{argument}: {str(path)!r} cannot be opened: {error}. A download that stopped early? It has'
        official = 'the official nyu_depth_v2_labeled.mat about 2.8 GB'
        raise ValueError(f'{text} {size} bytes, {official}. Get it again') from error


def _read_integers(argument: str, path: Path, name: str) -> np.ndarray:
    """A vector from a small MATLAB file, of version 5 or 7.3."""
    import scipy.io

    _check_file(argument, path)
    if h5py.is_hdf5(path):
        with _open_hdf5(argument, path) as file:
            names = sorted(file)
            values = file[name][()] if isinstance(file.get(name), h5py.Dataset) else None
    else:
        try:
            content = scipy.io.loadmat(path)
        except Exception as error:  # of many kinds, depending on where the bytes stop making sense
            text = f'no MATLAB file that can be read, but {_what_is(path)} ({error})'
            raise ValueError(f'{argument}: {str(path)!r} is {text}') from error
        names = sorted(key for key in content if not key.startswith('__'))
        values = content.get(name)
    if values is None:
        text = f'no variable {name!r}, it holds {names}. Is this the right file?'
        raise ValueError(f'{argument}: {str(path)!r} has {text}')
    values = np.squeeze(values)
    numbers = values.dtype.kind in 'uif' and values.size and values.ndim < 2
    if not numbers or (values != np.rint(values)).any():
        found = f'{values.dtype} of shape {values.shape}, expected a vector of integers'
        raise ValueError(f'{argument}: {name} of {str(path)!r} is {found}')
    return values.ravel().astype(np.int64)


def read_classes(path: str | Path) -> np.ndarray:
    """Label of the 40 classes for each fine label; 0, unlabelled, stays so."""
    to_40 = _read_integers('classes', Path(path), 'mapClass')
    if to_40.min() < 0 or to_40.max() > len(CLASSES):
        text = f'classes: mapClass of {str(path)!r} holds {to_40.min()} to {to_40.max()}, expected classes'
        raise ValueError(f'{text} from 1 to {len(CLASSES)} (0 for none). Is this the mapping to 40 classes?')
    return np.concatenate([[0], to_40]).astype(np.uint8)


def read_splits(path: str | Path, count: int) -> dict[str, np.ndarray]:
    """Numbers of the images of each split, from 1 to ``count``, each image in one of them."""
    splits = {split: _read_integers('splits', Path(path), name) for split, name in INDICES.items()}
    numbers, times = np.unique(np.concatenate(list(splits.values())), return_counts=True)
    images = np.arange(1, count + 1)
    left, unknown = np.setdiff1d(images, numbers), np.setdiff1d(numbers, images)
    faults = {'left out': left, 'not in mat': unknown, 'named twice': numbers[times > 1]}
    wrong = '; '.join(f'{what}: {first_few(of.tolist(), 3)}' for what, of in faults.items() if of.size)
    if wrong:
        cure = 'Images count from 1 in the official file. Is one of the two files a subset?'
        raise ValueError(f'splits: {path} has to name the images 1 to {count} of mat once. {wrong}. {cure}')
    return splits


def _check_mat(path: Path, data: h5py.File, depths: str) -> int:
    """Check shapes and types as h5py shows them, axes reversed, and return the number of images."""
    expected = {  # axes, kind of numbers
        'images': (4, 'u', 'uint8, images x 3 x width x height'),
        depths: (3, 'f', 'float32, images x width x height'),
        'labels': (3, 'u', 'uint16, images x width x height'),
    }
    for name, (axes, kind, text) in expected.items():
        found, file = data.get(name), repr(str(path))
        if not isinstance(found, h5py.Dataset):
            holds = f'{sorted(data)}. Is this nyu_depth_v2_labeled.mat?'
            raise ValueError(f'mat: {file} has no variable {name!r}, it holds {holds}')
        colours = axes < 4 or found.dtype == np.uint8 and found.ndim == 4 and found.shape[1] == 3
        if found.ndim != axes or found.dtype.kind != kind or not colours:
            shape = f'{found.dtype} of shape {found.shape}'
            raise ValueError(f'mat: {name} of {file} is {shape}, expected {text}')
    shapes = {name: (data[name].shape[0], *data[name].shape[-2:]) for name in expected}
    if len(set(shapes.values())) > 1:
        text = ', '.join(f'{name} {" x ".join(map(str, shape))}' for name, shape in shapes.items())
        what = f'the variables of {str(path)!r} do not belong together (images x width x height)'
        raise ValueError(f'mat: {what}: {text}')
    return len(data['images'])


def _write_image(data: Any, number: int, to_40: np.ndarray, depths: str, folder: Path, split: str) -> None:
    try:
        image, depth, fine = (data[name][number - 1] for name in ('images', depths, 'labels'))
    except OSError as error:
        text = f'image {number} of {data.filename!r} cannot be read: {error}. Get the file again'
        raise ValueError(f'mat: {text}') from error
    if fine.max() >= len(to_40):
        text = f'image {number} of mat holds the label {fine.max()}'
        raise ValueError(f'classes: mapClass has {len(to_40) - 1} entries, but {text}')
    labels = to_40[fine]
    # .T undoes MATLAB's order of the axes: 3 x width x height -> height x width x 3
    for name, array in zip(FOLDERS, (image.T, millimetres(depth.T), labels.T, TO_13[labels.T])):
        Image.fromarray(np.ascontiguousarray(array)).save(folder / name / split / f'{number:05d}.png')


def convert_nyuv2(
    mat: str | Path,
    classes: str | Path,
    splits: str | Path,
    out: str | Path,
    raw_depth: bool = False,
    overwrite: bool = False,
    log: Callable[[str], Any] = print,
) -> bool:
    """Write ``{images,depths,labels40,labels13}/{train,test}/NNNNN.png`` and a record under ``out``.

    NNNNN is the number of the image in the official file, from 1. The folders appear when all images are
    written. A complete directory of the same files (``mat`` is told by its size) is left alone.

    Args:
        mat (str | Path): nyu_depth_v2_labeled.mat.
        classes (str | Path): classMapping40.mat.
        splits (str | Path): splits.mat.
        out (str | Path): Directory of the data set.
        raw_depth (bool): Depth as measured, with holes, in place of the filled-in one. Defaults to False.
        overwrite (bool): Replace a conversion of other files. Defaults to False.
        log (Callable): Takes lines on the progress. Defaults to print.

    Returns:
        bool: Whether anything was written.

    Raises:
        FileNotFoundError, ValueError: A file is missing or is not what it should be, or ``out`` holds
            something else.
    """
    mat, out, depths = Path(mat), Path(out), 'rawDepths' if raw_depth else 'depths'
    _check_file('mat', mat)
    to_40 = read_classes(classes)
    with _open_hdf5('mat', mat) as data:
        numbers = read_splits(splits, _check_mat(mat, data, depths))
        counts = {split: len(numbers[split]) for split in INDICES}
        record = dict(version=VERSION, **counts, raw_depth=raw_depth, mat_bytes=mat.stat().st_size)
        named = dict(classes=[to_40], splits=[numbers[split] for split in INDICES])
        for name, arrays in named.items():
            content = b''.join(array.tobytes() for array in arrays)
            record[f'{name}_sha256'] = hashlib.sha256(content).hexdigest()
        check_inside('out', out, [out / name for name in (PART, *FOLDERS, RECORD)])
        with exclusive_folder(out):
            # A run that was stopped leaves PART, and perhaps some of the folders that it was moving.
            left = (PART, *FOLDERS) if (out / PART).is_dir() else ()
            if matches_manifest(out, RECORD, record, 'another conversion', overwrite, left):
                return False
            if counts != OFFICIAL:
                form = '{train} train and {test} test images; the full data set has'.format(**counts)
                log(f'note: {form} {OFFICIAL["train"]} and {OFFICIAL["test"]}')
            shutil.rmtree(out / PART, ignore_errors=True)
            for folder, split in itertools.product(FOLDERS, INDICES):
                (out / PART / folder / split).mkdir(parents=True)
            split_of = {int(number): split for split in INDICES for number in numbers[split]}
            for number in sorted(split_of):  # in the order of the file
                _write_image(data, number, to_40, depths, out / PART, split_of[number])
                if number % 100 == 0:
                    log(f'{number} of {len(split_of)} images')
            _move_out(out, record)
    return True


def _move_out(out: Path, record: dict) -> None:
    """Move the folders out of PART to their place, the record last."""
    part = out / PART
    (part / RECORD).write_text(json.dumps(record, indent=2) + '\n')
    (out / RECORD).unlink(missing_ok=True)
    for folder in FOLDERS:
        shutil.rmtree(out / folder, ignore_errors=True)
        os.replace(part / folder, out / folder)
    os.replace(part / RECORD, out / RECORD)
    part.rmdir()
