import itertools

import pytest
import torch
import torch.nn.functional as F
from dispatch import Count

from kd_methods.ops import boundaries
from kd_methods.ops.boundaries import boundary_map, fuse_boundaries, neighbour_distances


def random_map(n=2, c=5, h=4, w=6, dtype=torch.float64):
    return torch.randn(n, c, h, w, dtype=torch.float64).to(dtype)


def two_regions(left, right, w=6):
    """A map whose left half holds one vector and whose right half another one."""
    x = torch.zeros(1, 2, 4, w, dtype=torch.float64)
    x[..., : w // 2] = torch.tensor(left, dtype=torch.float64).view(1, 2, 1, 1)
    x[..., w // 2 :] = torch.tensor(right, dtype=torch.float64).view(1, 2, 1, 1)
    return x


def by_hand(feature, boundary='affinity'):
    """Place by place: the neighbours of a map with replicated borders, which do not change the maximum."""
    n, _, h, w = feature.shape
    found = torch.zeros(n, 1, h, w, dtype=feature.dtype)
    unit = F.normalize(feature)
    for i, y, x in itertools.product(range(n), range(h), range(w)):
        around = [(v, u) for v in (y - 1, y, y + 1) for u in (x - 1, x, x + 1) if (v, u) != (y, x)]
        if boundary == 'mean':  # of those that exist
            around = [(v, u) for v, u in around if 0 <= v < h and 0 <= u < w]
        d = [
            (unit[i, :, y, x] - unit[i, :, min(max(v, 0), h - 1), min(max(u, 0), w - 1)]).square().sum() / 4
            for v, u in around
        ]
        found[i, 0, y, x] = max(d) if boundary == 'affinity' else sum(d) / len(d)
    return found


@pytest.mark.parametrize('boundary', ['affinity', 'mean'])
@pytest.mark.parametrize('size', [(3, 3), (4, 6), (1, 5), (5, 1)])
def test_equals_the_definition_place_by_place(size, boundary):
    x = random_map(2, 3, *size)
    torch.testing.assert_close(boundary_map(x, boundary), by_hand(x, boundary))


def test_a_single_place_has_no_boundary():
    assert boundary_map(random_map(1, 3, 1, 1)).item() == 0
    assert boundary_map(random_map(1, 3, 1, 1), 'mean').item() == 0


@pytest.mark.parametrize('value', [0.0, 3.7, 1e-20])
def test_constant_map_has_no_boundary_and_gradient_0(value):
    x = torch.full((1, 4, 5, 5), value, requires_grad=True)
    b = boundary_map(x)
    b.sum().backward()
    assert b.count_nonzero() == 0 and x.grad.count_nonzero() == 0


@pytest.mark.parametrize(
    ('left', 'right', 'height'),
    [((1, 0), (0, 3), 0.5), ((1, 2), (-2, -4), 1.0), ((0, 0), (5, 1), 0.25), ((1, 1), (7, 7), 0.0)],
)
def test_two_regions_differ_in_the_two_columns_at_their_border_only(left, right, height):
    b = boundary_map(two_regions(left, right))[0, 0]
    expected = torch.zeros_like(b)
    expected[:, 2:4] = height
    torch.testing.assert_close(b, expected, atol=1e-12, rtol=0)


def test_range():
    x = random_map(4, 3, 16, 16, torch.float32)
    assert 0 <= boundary_map(x).min() and 0.9 < boundary_map(x).max() <= 1
    assert 0.4 < boundary_map(x.abs()).max() <= 0.5 + 1e-6
    opposite = boundary_map(torch.stack([x, -x], 4).flatten(3))  # rounding alone would lead above 1
    assert opposite.max() == 1 and opposite.min() > 0.99


def test_invariant_to_what_is_no_direction():
    x = random_map(c=7)
    turn = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    expected = boundary_map(x)
    turned, scaled = torch.einsum('nchw,dc->ndhw', x, turn), x * torch.rand(2, 1, 4, 6).add(0.1)
    for moved in (turned, x[:, torch.randperm(7)], scaled):
        torch.testing.assert_close(boundary_map(moved), expected)
    assert not torch.allclose(boundary_map(x + 1), expected)


@pytest.mark.parametrize(
    'move',
    [lambda x: x.flip(2), lambda x: x.flip(3), lambda x: x.rot90(1, (2, 3)), lambda x: x.mT],
    ids=['rows', 'columns', 'turn', 'transpose'],
)
def test_equivariant_to_flips_and_turns(move):
    x = random_map().requires_grad_()
    torch.testing.assert_close(boundary_map(move(x)), move(boundary_map(x)))
    weight = torch.rand(2, 1, 4, 6, dtype=torch.float64)
    pairs = (boundary_map(move(x)), move(weight)), (boundary_map(x), weight)
    grads = [torch.autograd.grad((b * w).sum(), x)[0] for b, w in pairs]
    torch.testing.assert_close(*grads)


def test_gradcheck():
    torch.autograd.gradcheck(lambda x: neighbour_distances(x)[0], random_map(1, 3, 3, 4).requires_grad_())
    torch.autograd.gradcheck(boundary_map, random_map(1, 3, 3, 3).requires_grad_())


def test_zero_vectors_get_gradient_0_and_others_a_finite_one():
    x = random_map(1, 4, 5, 5, torch.float32)
    x[:, :, 2, 1:4] = 0
    x.requires_grad_()
    boundary_map(x).square().sum().backward()
    assert x.grad[:, :, 2, 1:4].count_nonzero() == 0
    assert x.grad.isfinite().all() and x.grad.abs().max() < 1e3
    assert x.grad[:, :, 1, 1:4].abs().sum() > 0  # beside them


def test_half_precision_is_reduced_in_float32():
    x = random_map(1, 64, 8, 8, torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        b = boundary_map(x.requires_grad_())
    torch.testing.assert_close(b, boundary_map(x.detach().float()), atol=1e-6, rtol=0)
    b.sum().backward()
    assert b.dtype == torch.float32 and x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize('channels', [4, 64])
def test_the_gradient_is_the_same_inside_of_autocast(channels):
    """As where it is measured in a step; small gradients would be 0 in half precision."""
    x = random_map(1, channels, 4, 6, torch.float32).mul_(30).requires_grad_()
    grads = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            grads.append(torch.autograd.grad(boundary_map(x).sum() * 1e-9, x)[0])
    assert grads[0].abs().sum() > 0
    torch.testing.assert_close(*grads, rtol=1e-5, atol=0)


def test_what_does_not_count_has_no_influence():
    x, valid = random_map(), torch.ones(2, 1, 4, 6, dtype=torch.bool)
    valid[0, :, 2:] = False
    valid[1, :, :, 3] = False
    alone = boundary_map(x[:1, :, :2])
    for junk in (0.0, 1e9, float('nan')):
        spoilt = x.masked_fill(~valid, junk).requires_grad_()
        b = boundary_map(spoilt, valid=valid)
        torch.testing.assert_close(b[:1, :, :2], alone)
        assert b.masked_select(~valid).count_nonzero() == 0
        grad = torch.autograd.grad(b.sum(), spoilt)[0]
        assert grad.isfinite().all() and grad.abs().sum() > 0
        assert grad.masked_select(~valid).count_nonzero() == 0
    expected = boundary_map(x[:1, :, :2], 'mean')
    torch.testing.assert_close(boundary_map(x[:1], 'mean', valid[:1])[:, :, :2], expected)


def test_neighbours_that_count():
    counts = neighbour_distances(random_map(1, 2, 3, 3))[1].sum(1)[0]
    assert counts.tolist() == [[3, 5, 3], [5, 8, 5], [3, 5, 3]]


def test_no_step_makes_more_than_the_map():
    """Eight differences at once would be eight times the map."""
    x = random_map(1, 32, 16, 16, torch.float32).requires_grad_()
    with Count() as count:
        boundary_map(x).sum().backward()
    assert count.largest == x.numel()


@pytest.mark.parametrize('size', [(3, 4), (1, 5), (6, 1), (4, 2)])
def test_all_products_at_once_are_those_of_each_shift(size, monkeypatch):
    x = random_map(2, 16, *size)
    x[0, :, 0, 0] = 0
    x.requires_grad_()
    weight, sides = torch.randn(2, 8, *size, dtype=torch.float64), []
    for most in (boundaries.DENSE, 0):
        monkeypatch.setattr(boundaries, 'DENSE', most)
        distances, counts = neighbour_distances(x)
        sides.append((distances, counts, *torch.autograd.grad(distances, x, weight)))
    for dense, single in zip(*sides):
        torch.testing.assert_close(dense, single, rtol=1e-9, atol=1e-12)


def test_levels_are_fused_on_the_finest_grid():
    fine, coarse = torch.rand(1, 1, 8, 4), torch.rand(1, 1, 2, 2)
    resized = F.interpolate(coarse, size=(8, 4), mode='bilinear')
    torch.testing.assert_close(fuse_boundaries([coarse, fine]), (resized + fine) / 2)
    assert fuse_boundaries([coarse, fine], (3, 5)).shape == (1, 1, 3, 5)
    assert torch.equal(fuse_boundaries([fine]), fine)


def test_fused_where_a_map_ends_is_as_if_it_were_cut_off():
    fine, coarse = torch.rand(2, 1, 8, 12), torch.rand(2, 1, 4, 6)
    valid = [torch.zeros_like(b, dtype=torch.bool) for b in (fine, coarse)]
    valid[0][..., :6, :8], valid[1][..., :3, :4] = True, True
    expected = fuse_boundaries([fine[..., :6, :8], coarse[..., :3, :4]])
    torch.testing.assert_close(fuse_boundaries([fine, coarse], valid=valid)[..., :6, :8], expected)
    valid[1][:] = False  # a level that counts nowhere is left out
    torch.testing.assert_close(fuse_boundaries([fine, coarse], valid=valid)[..., :6, :8], fine[..., :6, :8])
    assert fuse_boundaries([fine, coarse], valid=valid)[..., 6:, :].count_nonzero() == 0


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="boundary_map: boundary='sobel' is not known. Possible: 'affinity'"):
        boundary_map(torch.zeros(1, 2, 3, 3), 'sobel')
    with pytest.raises(ValueError, match='N x C x H x W'):
        boundary_map(torch.zeros(1, 9, 4))
    with pytest.raises(TypeError, match='must be a tensor'):
        boundary_map([torch.zeros(1, 2, 3, 3)])
