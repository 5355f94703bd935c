"""Where the places of a feature map lie in the image that was read from disk."""

import math
from dataclasses import dataclass

from mmengine.structures import BaseDataElement


@dataclass(frozen=True)
class Frame:
    """From an image file to a network's input: resized by the pipeline, then padded at the right and at the
    bottom.

    All sizes are (height, width) in pixels.

    Attributes:
        image (tuple[int, int]): Size of the file's image.
        content (tuple[int, int]): Size that the pipeline brings it to.
        padded (tuple[int, int]): Size of the network's input, padding included.
    """

    image: tuple[int, int]
    content: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, sample: BaseDataElement, image: tuple[int, int], padded: tuple[int, int]) -> 'Frame':
        """Read it from a data sample.

        Args:
            sample (BaseDataElement): As the pipeline packed it.
            image (tuple[int, int]): Height and width of the file's image.
            padded (tuple[int, int]): Those of the preprocessed input.
        """
        meta = sample.metainfo
        height, width = (min(a, b) for a, b in zip(meta.get('img_shape', padded)[:2], padded))
        scale = meta.get('scale_factor')
        if (
            scale is not None
        ):  # a Pad in the pipeline counts as image in img_shape, the factor of Resize does not know of it
            across, down = (scale, scale) if isinstance(scale, float) else scale[:2]
            height, width = (
                min(height, round(image[0] * float(down))),
                min(width, round(image[1] * float(across))),
            )
        return cls(tuple(image), (height, width), tuple(padded))

    def kept(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a map h x w that see a pixel of the image, rather than padding alone."""
        return tuple(
            min(n, math.ceil(n * inside / whole)) for n, inside, whole in zip(size, self.content, self.padded)
        )

    def cover(self, size: tuple[int, int]) -> tuple[float, float]:
        """Height and width, in pixels of the file's image, that the kept part of a map h x w covers."""
        return tuple(
            kept * whole / n * file / inside
            for kept, whole, n, file, inside in zip(
                self.kept(size), self.padded, size, self.image, self.content
            )
        )

    def place(self, pixel: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
        """Row and column, in a map h x w, of a pixel (x, y) of the file's image."""
        return tuple(
            min(kept - 1, int((at + 0.5) / file * inside / whole * n))
            for kept, at, file, inside, whole, n in zip(
                self.kept(size), pixel[::-1], self.image, self.content, self.padded, size
            )
        )
