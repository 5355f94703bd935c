"""Boundaries, self-relations and components as arrays."""

import math

import numpy as np
import pytest
import torch

from kd_methods.ops.boundaries import boundary_map
from kd_methods.visualize.maps import boundary_rows, feature_rows, principal_colours, relation_rows


def halves(height=6, width=6, at=3):
    """A map of two orthogonal directions with a vertical border."""
    x = torch.zeros(1, 2, height, width)
    x[:, 0, :, :at], x[:, 1, :, at:] = 1, 2
    return x


def test_a_boundary_is_where_directions_change(feature_map):
    (row,) = boundary_rows(['tap'], [[feature_map(halves())]])
    expected = np.zeros((6, 6))
    expected[:, 2:4] = 0.5
    np.testing.assert_allclose(row.panels[0].array, expected, atol=1e-6)
    assert row.scale == pytest.approx((0, 0.5)) and row.panels[0].cover == (48, 48)


def test_padding_makes_no_boundary(feature_map):
    m = feature_map(halves(6, 8, 5), kept=(4, 5))
    m.data[:, :, 4:] = -m.data[:, :, 4:]
    assert boundary_map(m.data)[0, 0, :4, :5].max() == 1, 'there would be one'
    (row,) = boundary_rows(['tap'], [[m]])
    assert row.panels[0].array.shape == (4, 5) and row.panels[0].array.max() == 0


def test_one_scale_a_row_and_the_mean_over_all_taps(feature_map):
    first, second = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    maps = [[feature_map(first), feature_map(second)], [feature_map(halves(8, 8)), None]]
    rows = boundary_rows(['a', 'b'], maps)
    assert [row.label for row in rows] == ['a', 'b', 'mean of all']
    a, b = boundary_map(first)[0, 0].numpy(), boundary_map(second)[0, 0].numpy()
    np.testing.assert_allclose(rows[2].panels[0].array, (a + b) / 2, atol=1e-6)
    np.testing.assert_allclose(rows[2].panels[1].array, rows[0].panels[1].array, atol=1e-6)
    assert rows[1].panels[1] is None and rows[0].scale == pytest.approx((0, a.max()))


def test_relation_of_a_place_to_all_places(feature_map):
    (row,) = relation_rows(['tap'], [[feature_map(halves(2, 4, 3))]], pixel=(31, 15), tau=0.5)
    same, other = math.exp(1 / 0.5), 1
    mean = (2 * same + 6 * other) / 8
    np.testing.assert_allclose(row.panels[0].array, [[other / mean] * 3 + [same / mean]] * 2, rtol=1e-5)


def test_relations_leave_padding_out(feature_map):
    data = torch.randn(1, 4, 6, 8)
    (whole,) = relation_rows(['tap'], [[feature_map(data[..., :4, :5])]], pixel=(20, 20))
    (padded,) = relation_rows(['tap'], [[feature_map(data, kept=(4, 5))]], pixel=(20, 20))
    np.testing.assert_allclose(padded.panels[0].array, whole.panels[0].array, rtol=1e-5)
    assert padded.panels[0].array.mean() == pytest.approx(1, rel=1e-5), 'in multiples of the mean'
    (elsewhere,) = relation_rows(['tap'], [[feature_map(data, kept=(4, 5))]], pixel=(4, 20))
    assert elsewhere.panels[0].array[2, 0] == elsewhere.panels[0].array.max() > padded.panels[0].array[2, 0]


def test_components_do_not_depend_on_the_order_of_channels_or_on_an_offset():
    x = torch.randn(8, 5, 7)
    colours = principal_colours(x)
    assert colours.shape == (5, 7, 3) and colours.dtype == np.uint8
    assert (colours.reshape(-1, 3).min(0) == 0).all() and (colours.reshape(-1, 3).max(0) == 255).all()
    np.testing.assert_allclose(principal_colours(3 * x[torch.randperm(8)] + 5).astype(int), colours, atol=1)
    assert np.abs(principal_colours(x.flip(2)).astype(int) - colours).max() > 50


def test_the_first_component_is_the_strongest():
    x = torch.zeros(4, 3, 3)
    x[2] = torch.arange(9.0).view(3, 3)
    colours = principal_colours(x)
    assert (np.diff(colours[..., 0].reshape(-1).astype(int)) >= 0).all() and colours[2, 2, 0] == 255
    assert not colours[..., 1:].any(), 'a map of one component is red alone'
    assert not principal_colours(torch.ones(4, 3, 3)).any()
    assert principal_colours(torch.randn(1, 3, 3)).shape == (3, 3, 3)


def test_feature_rows(feature_map):
    m = feature_map(torch.randn(1, 4, 4, 6), kept=(3, 5))
    magnitude, components = feature_rows(['tap'], [[m], [None]])
    np.testing.assert_allclose(magnitude.panels[0].array, m.data[0, :, :3, :5].abs().mean(0), rtol=1e-6)
    assert magnitude.scale is None and components.panels[0].array.shape == (3, 5, 3)
    assert magnitude.panels[1] is None and components.panels[1] is None
