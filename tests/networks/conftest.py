"""What the tests of this folder share."""

import pytest


@pytest.fixture(autouse=True)
def segmentation_scope(segmentation_scope):
    """In every test of this folder."""
