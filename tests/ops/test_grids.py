import pytest
import torch
import torch.nn.functional as F

from kd_methods.ops.grids import common_grid, pool_map, resize_map, valid_area


@pytest.mark.parametrize(
    'first, second, most, grid',
    [
        ((12, 12), (12, 12), 1024, (12, 12)),
        ((64, 128), (128, 64), 1024, (32, 32)),
        ((64, 128), (64, 128), 1024, (22, 45)),
        ((1, 4000), (2, 4000), 1024, (1, 1024)),
        ((4000, 1), (4000, 1), 1024, (1024, 1)),
    ],
)
def test_common_grid(first, second, most, grid):
    got = common_grid(first, second, most)
    assert got == grid
    assert got[0] * got[1] <= most


def test_common_grid_without_bound():
    assert common_grid((640, 128), (512, 1024)) == (512, 128)


def test_pool_map():
    x = torch.randn(1, 3, 8, 12)
    assert pool_map(x, (8, 12)) is x
    torch.testing.assert_close(pool_map(x, (4, 5)), F.adaptive_avg_pool2d(x, (4, 5)))
    assert pool_map(x.half(), (4, 5)).dtype == torch.float32


def test_valid_area():
    area = valid_area([(17, 40), (8, 1)], (32, 40), torch.zeros(2, 1, 4, 5))
    assert area.shape == (2, 1, 4, 5)
    # The pixel in row 16 lies in the third row of the map.
    assert area[0, 0].any(1).tolist() == [True, True, True, False]
    assert area[1, 0].nonzero().tolist() == [[0, 0]]


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ((3, 5), (24, 40)),
        ((7, 9), (5, 4)),
        ((4, 6), (9, 11)),
        ((1, 6), (5, 1)),
        ((2, 130), (4, 20)),
        ((5, 5), (1, 1)),
    ],
)
def test_resize_map(old, new, align_corners):
    """Value and gradient are those of F.interpolate, by products and beyond their bound."""
    x = torch.randn(2, 3, *old, dtype=torch.float64, requires_grad=True)
    ways = [
        way(x)
        for way in (
            lambda x: resize_map(x, new, align_corners),
            lambda x: F.interpolate(x, size=new, mode='bilinear', align_corners=align_corners),
        )
    ]
    torch.testing.assert_close(*ways, rtol=1e-12, atol=1e-12)
    weight = torch.randn(2, 3, *new, dtype=torch.float64)
    gradients = [torch.autograd.grad((way * weight).sum(), x)[0] for way in ways]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
def test_resize_map_keeps_the_type(dtype):
    """Low precision is resized in float32, also under autocast, and rounded once."""
    x = torch.randn(1, 2, 6, 6, dtype=dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        resized = resize_map(x, (17, 23))
    expected = F.interpolate(x.float(), size=(17, 23), mode='bilinear').to(dtype)
    assert resized.dtype == dtype
    torch.testing.assert_close(resized, expected, rtol=torch.finfo(dtype).eps * 2, atol=1e-6)


def test_resize_map_leaves_maps_of_the_size_alone():
    x = torch.randn(1, 2, 4, 4)
    assert resize_map(x, (4, 4)) is x and resize_map(x, torch.Size((4, 4))) is x
