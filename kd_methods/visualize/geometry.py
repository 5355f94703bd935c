"""Where the places of a feature map lie in the image that was read from disk."""

import math
from dataclasses import dataclass

import numpy as np
from mmengine.structures import BaseDataElement


@dataclass(frozen=True)
class Geometry:
    """From an image file to a network's input: resized by the pipeline, then padded at the right and bottom.

    All sizes are (height, width) in pixels.
    """

    image: tuple[int, int]  # of the file
    content: tuple[int, int]  # that the pipeline brings it to
    padded: tuple[int, int]  # of the network's input, padding included

    @classmethod
    def of(cls, sample: BaseDataElement, image: tuple[int, int], padded: tuple[int, int]) -> 'Geometry':
        """Read it from a data sample, as the pipeline packed it."""
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
        sizes = zip(pixel[::-1], size, self.image, self.content, self.padded)
        at = [(v + 0.5) / file * inside / whole * n for v, n, file, inside, whole in sizes]
        return tuple(min(kept - 1, int(v)) for kept, v in zip(self.kept(size), at))
