"""Files that are there whole or not at all."""
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

_PNG_HEAD, _PNG_END = b'\x89PNG\r\n\x1a\n', b'\x00\x00\x00\x00IEND\xaeB`\x82'


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a place to write to; what was written becomes ``path`` if the block is left without an error.

    Readers meet the old file or the new one. The place is hidden and in the same folder, which is made; no loader takes it for
    an image, and the next attempt writes over what a killed process left.

    Args:
        path (str | Path): The file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding='utf-8')


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file at another place too, whole or not at all: as a hard link, which takes no room, or as a copy.

    A copy is made where the disk has no links, or is another one. The link is to what a symbolic link points to.
    """
    with replacing(target) as part:
        part.unlink(missing_ok=True)  # what a killed process left may be a link: never write into it
        try:
            os.link(source.resolve(), part)
        except OSError:
            shutil.copyfile(source, part)


def save_png(path: str | Path, array: np.ndarray, palette: np.ndarray | None = None, level: int = 6) -> None:
    """Write an image or a label map as PNG, whole or not at all.

    Args:
        path (str | Path): The file.
        array (np.ndarray): H x W (x 3) uint8, or H x W uint16.
        palette (np.ndarray | None): RGB of each label, K x 3 uint8, for viewers; loaders read the labels. Defaults to None.
        level (int): Compression from 0 to 9. Defaults to 6.
    """
    from PIL import Image
    image = Image.fromarray(np.ascontiguousarray(array))
    if palette is not None:
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    with replacing(path) as part:
        image.save(part, format='PNG', compress_level=level)


def is_whole_png(path: str | Path) -> bool:
    """Whether a file begins and ends as a PNG does; one that stopped half-way does not."""
    with open(path, 'rb') as file:
        if file.read(len(_PNG_HEAD)) != _PNG_HEAD:
            return False
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - len(_PNG_END), 0))
        return file.read() == _PNG_END
