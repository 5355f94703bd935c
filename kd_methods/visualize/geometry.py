"""Where the places of a feature map lie in the image that was read from disk."""

import math
from dataclasses import dataclass

import numpy as np
from mmengine.structures import BaseDataElement


@dataclass(frozen=True)
class Geometry:
    """From an image file to a network's input: resized by the pipeline, then padded at the right and bottom.

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
    def of(cls, sample: BaseDataElement, image: tuple[int, int], padded: tuple[int, int]) -> 'Geometry':
        """Read it from a data sample.

        Args:
            sample (BaseDataElement): As the pipeline packed it.
            image (tuple[int, int]): Height and width of the file's image.
            padded (tuple[int, int]): Height and width of the preprocessed input.
        """
        content = [min(a, b) for a, b in zip(sample.metainfo.get('img_shape', padded), padded)]
        scale = sample.metainfo.get('scale_factor')
        if scale is not None:  # of Resize alone, whereas img_shape includes a Pad of the pipeline
            across, down = np.resize(scale, 2).tolist()
            content = [min(c, round(n * f)) for c, n, f in zip(content, image, (down, across))]
        return cls(tuple(image), tuple(content), tuple(padded))

    def kept(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a map h x w that see a pixel of the image, rather than padding alone."""
        sizes = zip(size, self.content, self.padded)
        return tuple(min(n, math.ceil(n * inside / whole)) for n, inside, whole in sizes)

    def cover(self, size: tuple[int, int]) -> tuple[float, float]:
        """Height and width, in pixels of the file's image, that the kept part of a map h x w covers."""
        sizes = zip(self.kept(size), size, self.image, self.content, self.padded)
        return tuple(kept * whole / n * file / inside for kept, n, file, inside, whole in sizes)

    def place(self, pixel: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
        """Row and column, in a map h x w, of a pixel (x, y) of the file's image."""
        sizes = zip(pixel[::-1], self.kept(size), size, self.image, self.content, self.padded)
        return tuple(
            min(kept - 1, int((at + 0.5) / file * inside / whole * n))
            for at, kept, n, file, inside, whole in sizes
        )
