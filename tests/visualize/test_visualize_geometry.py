"""Pixels of a file and places of a map."""

import numpy as np
import pytest
from mmengine.structures import BaseDataElement

from kd_methods.visualize.geometry import Geometry


def test_without_padding_a_map_covers_the_image():
    geometry = Geometry((96, 64), (96, 64), (96, 64))
    assert geometry.kept((12, 8)) == (12, 8) and geometry.cover((12, 8)) == (96, 64)
    assert [geometry.place(p, (12, 8)) for p in ((0, 0), (7, 7), (8, 7), (63, 95))] == [
        (0, 0),
        (0, 0),
        (0, 1),
        (11, 7),
    ]


def test_padding_is_left_out_and_resizing_undone():
    geometry = Geometry(
        (50, 100), (100, 200), (128, 224)
    )  # twice as large, then padded; places of 8 pixels, of 4 in the file
    assert geometry.kept((16, 28)) == (13, 25)
    assert geometry.cover((16, 28)) == pytest.approx((52, 100))
    assert geometry.place((99, 49), (16, 28)) == (12, 24) and geometry.place((4, 3), (16, 28)) == (0, 1)
    assert geometry.kept((4, 7)) == (4, 7) and geometry.place((99, 49), (4, 7)) == (3, 6)


@pytest.mark.parametrize(
    'meta, content',
    [
        (dict(), (128, 160)),
        (dict(img_shape=(100, 150)), (100, 150)),
        (
            dict(img_shape=(128, 160, 3), scale_factor=(1.5, 2.0)),
            (100, 150),
        ),  # w, h; the pipeline padded by itself
        (dict(img_shape=(128, 160), scale_factor=np.array([1.5, 2.0, 1.5, 2.0])), (100, 150)),
    ],
)
def test_the_content_is_read_from_the_sample(meta, content):
    geometry = Geometry.of(BaseDataElement(metainfo=meta), (50, 100), (128, 160))
    assert geometry == Geometry((50, 100), content, (128, 160))
