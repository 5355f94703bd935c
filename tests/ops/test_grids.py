import pytest
import torch
import torch.nn.functional as F

from kd_methods.ops.grids import common_grid, pool_map, valid_area


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
