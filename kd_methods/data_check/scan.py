"""Read one sample wholly, in a process that needs no torch: its image, its label map, its X."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

_ORIENTATION = 0x0112  # of EXIF; beyond 4 the image is to be turned by a quarter


class Sample(NamedTuple):
    """Files of a sample; None for those that are not read."""

    image: str | None
    label: str | None = None
    x: str | None = None


class Seen(NamedTuple):
    """What one sample holds."""

    size: tuple[int, int] | None  # height and width; None where unreadable, or where EXIF may turn the image
    values: np.ndarray | None  # number of pixels of each of the values 0 to 255 of the label map
    problems: list[tuple[str, str, str]]  # (kind, file, what was found in it)


@dataclass
class ScanBudget:
    """How much is read."""

    limit: int | None = None  # samples of each data set that are read; None for all
    workers: int | None = None  # processes; None for the number of cores
    quick: bool = False  # leave out what takes long, and data sets that do their listing themselves

    def choose(self, samples: list) -> list:
        """Evenly spaced samples, if there are more than the limit."""
        if self.limit is None or len(samples) <= self.limit:
            return samples
        return [samples[i] for i in np.linspace(0, len(samples) - 1, self.limit).round().astype(int)]


def scan(sample: Sample, quick: bool = False) -> Seen:
    """Read a sample and say what is wrong with it; with ``quick``, checksums of PNG images are trusted."""
    problems: list[tuple[str, str, str]] = []

    def attempt(kind: str, read: Callable, path: str | None, *args: Any) -> Any:
        try:
            return path and read(path, *args)
        except UnidentifiedImageError:
            problems.append((kind, path, 'no image'))
        except Exception as error:  # decoders raise all kinds of errors at damaged files
            problems.append((kind, path, getattr(error, 'strerror', None) or str(error)))

    size = attempt('image', _image_size, sample.image, quick)
    values, found = attempt('label', _read_label, sample.label, size) or (None, [])
    problems += [(kind, sample.label, what) for kind, what in found]
    x_size = attempt('x', _x_size, sample.x)
    if size and x_size and x_size != size:
        problems.append(('x size', sample.x, _compared(x_size, size)))
    return Seen(size, values, problems)


def _open(path: str, quick: bool = False) -> Image.Image:
    """An image, decoded to its last row; with ``quick``, a PNG is not decoded."""
    content = Path(path).read_bytes()
    if not content:
        raise ValueError('the file is empty')
    image = Image.open(io.BytesIO(content))
    if image.format == 'PNG':
        # By its checksums: decoding alone takes label maps with changed bytes, and files without an end.
        image.verify()
        image = Image.open(io.BytesIO(content))
    if not quick or image.format != 'PNG':
        image.load()
    return image


def _image_size(path: str, quick: bool = False) -> tuple[int, int] | None:
    """Height and width of an image that decodes; None where only its loader can tell."""
    try:
        image = _open(path, quick)
    except Image.DecompressionBombError:  # a limit of pixels that the loaders, by OpenCV, do not have
        return None
    except UnidentifiedImageError:
        array = cv2.imread(path, cv2.IMREAD_UNCHANGED)  # some formats only OpenCV knows
        if array is None:
            raise
        return array.shape[:2]
    turned = 'exif' in image.info and image.getexif().get(_ORIENTATION, 1) > 4
    return None if turned else image.size[::-1]


def _x_size(path: str) -> tuple[int, int] | None:
    """Height and width of X, an image or an array."""
    if not path.endswith('.npy'):
        return _image_size(path)
    shape = np.load(path).shape
    if len(shape) < 2:
        raise ValueError(f'an array of {len(shape)} dimensions')
    return shape[:2]


def _read_label(path: str, size: tuple[int, int] | None) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """Values of a label map as mmseg's LoadAnnotations reads them, and what is wrong with it."""
    image, problems = _open(path), []
    own = image.size[::-1]
    if size and own != size:
        larger = own[0] >= size[0] and own[1] >= size[1]  # a crop of the image's size can be taken of it
        problems.append(('label larger' if larger else 'label size', _compared(own, size)))
    if image.format == 'JPEG':
        problems.append(('label jpeg', ''))
    if len(image.getbands()) > 1:
        return None, [('label colour', f'mode {image.mode}'), *problems]
    if image.mode in ('L', 'P'):
        return np.array(image.histogram(), np.int64), problems
    array = np.asarray(image)
    with np.errstate(invalid='ignore'):  # values that are no numbers
        loaded = array.astype(np.uint8)
    changed = array[array != loaded]
    if len(changed):
        return None, [('label wide', f'{array.dtype}, such as {changed.max():g}'), *problems]
    return np.bincount(loaded.ravel(), minlength=256), problems


def _compared(found: tuple[int, int], image: tuple[int, int]) -> str:
    return '{} x {}, the image {} x {}'.format(*found, *image)
