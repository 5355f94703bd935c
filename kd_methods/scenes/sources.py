"""What sign scenes are made of: handwritten digits and photographs that come with scikit-learn."""

from dataclasses import dataclass
from functools import cache

import numpy as np

SPLITS = ('train', 'val')
VAL_SHARE = 0.2  # of the digits of each class
# Column that cuts each photograph; val takes the part on its left. The cuts run through the middle of the
# pagoda and of the flower, so that both splits see smooth and busy regions.
PHOTOS = {'china.jpg': 205, 'flower.jpg': 305}
GLYPH = 32  # side of an upscaled digit


@dataclass(frozen=True)
class Sources:
    """The raw material of one split."""

    glyphs: np.ndarray  # ink of each digit in [0, 1], N x 32 x 32 float32
    digits: np.ndarray  # which digit each glyph shows, N int64 in [0, 10)
    indices: np.ndarray  # their places in scikit-learn's digit set, N int64
    photos: tuple  # RGB photographs in [0, 1], H x W x 3 float32


def check_split(split: str) -> str:
    """Return ``split`` if it is one of the two, else say what is possible."""
    if split not in SPLITS:
        raise ValueError(f'split: got {split!r}, expected one of {list(SPLITS)}')
    return split


def split_digits(targets: np.ndarray, split: str) -> np.ndarray:
    """Indices of a split's digits: of every class the last fifth belongs to val.

    The set is sorted by writer, so the end of each class shows hands that train hardly sees. Taking every
    fifth digit would not do: they come in the order 0, 1, ... 9, and val would miss classes.
    """
    check_split(split)
    chosen = []
    for digit in np.unique(targets):
        of_class = np.flatnonzero(targets == digit)
        cut = len(of_class) - int(round(len(of_class) * VAL_SHARE))
        chosen.append(of_class[:cut] if split == 'train' else of_class[cut:])
    return np.sort(np.concatenate(chosen))


def upscale_digits(images: np.ndarray) -> np.ndarray:
    """8 x 8 digits with values 0..16 -> smooth ink in [0, 1], N x 32 x 32 float32."""
    from PIL import Image

    glyphs = np.empty((len(images), GLYPH, GLYPH), np.float32)
    for i, image in enumerate(images):
        # A blank ring keeps strokes that touch the border round.
        padded = np.pad(image.astype(np.float32) / 16, 1)
        glyphs[i] = np.asarray(Image.fromarray(padded).resize((GLYPH, GLYPH), Image.BICUBIC))
    # Smooth upscaling leaves wide grey flanks: a steeper ramp gives strokes an edge.
    return np.clip((glyphs - 0.25) / 0.4, 0, 1)


@cache
def load_sources(split: str) -> Sources:
    """Digits and photographs of a split, read-only; two splits share neither a digit nor a photo's pixel."""
    check_split(split)
    from sklearn.datasets import load_digits, load_sample_image

    data = load_digits()
    indices = split_digits(data.target, split)
    photos = []
    for name, cut in PHOTOS.items():
        photo = load_sample_image(name).astype(np.float32) / 255
        photos.append(photo[:, cut:] if split == 'train' else photo[:, :cut])
    glyphs, digits = upscale_digits(data.images[indices]), data.target[indices].astype(np.int64)
    return Sources(glyphs, digits, indices, tuple(photos))
