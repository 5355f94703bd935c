"""What the tests of the pictures share."""

import pytest
import torch

import kd_methods  # noqa: F401


@pytest.fixture(autouse=True)
def segmentation_scope(segmentation_scope):
    """In every test of this folder."""


@pytest.fixture
def feature_map():
    """`feature_map(data, kept=None)` -> FeatureMap of an image whose places are 8 pixels; the rest of `kept`
    is padding.
    """
    from kd_methods.visualize.geometry import Geometry
    from kd_methods.visualize.recording import FeatureMap

    def make(data: torch.Tensor, kept: tuple[int, int] | None = None) -> FeatureMap:
        size = tuple(data.shape[-2:])
        inside = tuple(8 * n for n in kept or size)
        return FeatureMap(data, Geometry(inside, inside, tuple(8 * n for n in size)))

    return make
