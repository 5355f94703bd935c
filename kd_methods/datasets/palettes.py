"""Colours of labels."""

import numpy as np


def voc_palette(count: int = 256) -> np.ndarray:
    """RGB of the labels from 0 by Pascal VOC's rule, count x 3 uint8."""
    # Bit 3 j + c of a label is bit 7 - j of channel c.
    labels = np.arange(count)
    channels = [sum((labels >> (3 * j + c) & 1) << (7 - j) for j in range(3)) for c in range(3)]
    return np.stack(channels, 1).astype(np.uint8)
