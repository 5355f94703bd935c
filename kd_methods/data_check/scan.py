"""Read one sample wholly: its image, its label map, its X. Without torch, in a process of its own."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from kd_methods.data_check.pipeline import Reading

PNG_HEAD = b'\x89PNG\r\n\x1a\n'
_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
_TURNED_FORMATS = (
    'JPEG',
    'MPO',
    'PNG',
)  # by OpenCV; TIFF comes turned from PIL, and neither turns others such as WebP


class Sample(NamedTuple):
    """Files of a sample; None for those that are not read."""

    image: str | None
    label: str | None = None
    x: str | None = None


class Seen(NamedTuple):
    """What one sample holds.

    Attributes:
        size (tuple[int, int] | None): Height and width of the image as the loader gives it.
        values (np.ndarray | None): Number of pixels of each of the values 0 to 255 of the label map.
        problems (list[tuple[str, str, str]]): (kind, file, what was found in it).
    """

    size: tuple[int, int] | None
    values: np.ndarray | None
    problems: list[tuple[str, str, str]]


def scan(sample: Sample, reading: Reading, quick: bool = False) -> Seen:
    """Read a sample and say what is wrong with it.

    Args:
        sample (Sample): Its files.
        reading (Reading): How the loader reads them.
        quick (bool): Of an image that is PNG, trust its checksums and do not decode it. Defaults to False.
    """
    problems: list[tuple[str, str, str]] = []
    size, values = None, None
    if sample.image is not None:
        try:
            size = _read_image(sample.image, reading.turned, quick)
        except Exception as error:  # decoders raise all kinds of errors at damaged files
            problems.append(('image', sample.image, _reason(error)))
    if sample.label is not None:
        try:
            values, found = _read_label(sample.label, size)
            problems += [(kind, sample.label, what) for kind, what in found]
        except Exception as error:
            problems.append(('label', sample.label, _reason(error)))
    if sample.x is not None:
        try:
            x_size = (
                _read_array(sample.x) if sample.x.endswith('.npy') else _read_image(sample.x, turned=False)
            )
            if size is not None and x_size != size:
                problems.append(('x size', sample.x, f'{_text(x_size)}, the image {_text(size)}'))
        except Exception as error:
            problems.append(('x', sample.x, _reason(error)))
    return Seen(size, values, problems)


def png_fault(content: bytes) -> str | None:
    """What is wrong with a PNG file by its own checksums; None if it is as it was written.

    PIL checks less: it takes a file without an end, and label maps with changed bytes.
    """
    view, place = memoryview(content), len(PNG_HEAD)
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(view[place : place + 4], 'big')
        kind = bytes(view[place + 4 : place + 8])
        if end > len(content):
            break
        if not _is_extra(kind) and zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end], 'big'
        ):
            return f'damaged: wrong checksum after byte {place:,}'
        if kind == b'IEND':
            return None
        place = end
    return f'cut off at byte {len(content):,}'


def _is_extra(kind: bytes) -> bool:
    """Whether a chunk holds text, times and the like, without which the image is the same; such a name begins
    in lower case.
    """
    return kind.isalpha() and kind[:1].islower() and kind.upper() not in (b'IHDR', b'PLTE', b'IDAT', b'IEND')


def _open(content: bytes, quick: bool = False) -> Image.Image:
    """An image, decoded to its last row; with ``quick``, of PNG only the head."""
    png = content.startswith(PNG_HEAD)
    fault = png_fault(content) if png else None
    if fault or not content:
        raise ValueError(fault or 'the file is empty')
    image = Image.open(io.BytesIO(content))
    if not (png and quick):
        image.load()
    return image


@contextmanager
def _any_size() -> Iterator[None]:
    """Without PIL's limit of pixels, which the loaders of images and of X, by OpenCV, do not have; that of
    labels has it.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _read_image(path: str, turned: bool, quick: bool = False) -> tuple[int, int]:
    """Height and width of an image that decodes."""
    content = _bytes(path)
    try:
        with _any_size():
            image = _open(content, quick)
    except UnidentifiedImageError:
        array = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR
        )  # some formats only OpenCV knows
        if array is None:
            raise
        return array.shape[:2]
    width, height = image.size
    if (
        turned
        and image.format in _TURNED_FORMATS
        and 'exif' in image.info
        and image.getexif().get(_EXIF_ORIENTATION) in _TURNED
    ):
        return width, height
    return height, width


def _read_array(path: str) -> tuple[int, int]:
    array = np.load(path)
    if array.ndim < 2:
        raise ValueError(f'an array of {array.ndim} dimensions')
    return array.shape[:2]


def _read_label(path: str, size: tuple[int, int] | None) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """Values of a label map as mmseg's LoadAnnotations reads them, and what is wrong with it."""
    image = _open(_bytes(path))
    problems = []
    own = image.size[::-1]
    if size is not None and own != size:
        larger = own[0] >= size[0] and own[1] >= size[1]  # a crop of the image's size can be taken of it
        problems.append(
            ('label larger' if larger else 'label size', f'{_text(own)}, the image {_text(size)}')
        )
    if image.format == 'JPEG':
        problems.append(('label jpeg', ''))
    if len(image.getbands()) > 1:
        return None, [('label colour', 'RGB' if image.mode == 'RGB' else f'mode {image.mode}'), *problems]
    if image.mode in ('L', 'P'):
        return np.array(image.histogram(), np.int64), problems
    array = np.asarray(image)
    with np.errstate(invalid='ignore'):  # values that are no numbers
        loaded = array.astype(np.uint8)
    changed = array[array != loaded]
    if len(changed):
        return None, [('label wide', f'{array.dtype}, such as {changed.max():g}'), *problems]
    return np.bincount(loaded.ravel(), minlength=256), problems


def _bytes(path: str) -> bytes:
    with open(path, 'rb') as file:
        return file.read()


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return 'no image'
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
