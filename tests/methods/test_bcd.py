from functools import partial

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from kd_methods.methods.bcd import BoundaryDistillLoss, ContextDistillLoss, boundary_loss, context_loss
from kd_methods.ops.boundaries import boundary_map, fuse_boundaries, neighbour_distances
from kd_methods.ops.relations import self_relation


def maps(c_S=4, c_T=6, size_S=(6, 8), size_T=None, n=2, dtype=torch.float64):
    sizes = size_S, size_T or size_S
    S, T = (torch.randn(n, c, *size, dtype=torch.float64).to(dtype) for c, size in zip((c_S, c_T), sizes))
    return S.requires_grad_(), T


def levels(n=2, dtype=torch.float64):
    """Three levels, of which the teacher's have other strides."""
    pairs = [
        maps(4, 6, (8, 12), (16, 24), n, dtype),
        maps(8, 12, (8, 12), (4, 6), n, dtype),
        maps(3, 5, (2, 3), None, n, dtype),
    ]
    return [list(side) for side in zip(*pairs)]


def rotated(x):
    turn = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], dtype=x.dtype)).Q
    return torch.einsum('nchw,dc->ndhw', x, turn)


def close(x, value, atol=1e-12):
    torch.testing.assert_close(x, torch.full_like(x, value), rtol=0, atol=atol)


# The boundary loss.


@pytest.mark.parametrize('boundary', ['affinity', 'mean'])
def test_boundary_loss_is_the_error_of_the_fused_maps(boundary):
    S, T = levels()
    grids = [(8, 12), (4, 6), (2, 3)]
    b_S, b_T = (
        fuse_boundaries(
            [boundary_map(F.adaptive_avg_pool2d(x, grid), boundary) for x, grid in zip(side, grids)]
        )
        for side in (S, T)
    )
    loss, stats = boundary_loss(S, T, boundary)
    assert b_S.shape == (2, 1, 8, 12)
    torch.testing.assert_close(loss, (b_T - b_S).square().mean())
    torch.testing.assert_close(stats, dict(b_S=b_S.mean().detach(), b_T=b_T.mean()))


def test_pair_term():
    S, T = maps()
    (d_S, near), (d_T, _) = neighbour_distances(S), neighbour_distances(T)
    error = (d_T - d_S).square().sum(1) / near.sum(1)
    expected = ((1 + 3.0 * boundary_map(T)[:, 0]) * error).mean()
    got = boundary_loss([S], [T], pair_weight=0.7, gamma=3.0)[0] - boundary_loss([S], [T])[0]
    torch.testing.assert_close(got, 0.7 * expected)
    once, plain = (boundary_loss([S], [T], pair_weight=0.7, gamma=gamma)[0] for gamma in (1.0, 0.0))
    assert not torch.isclose(once, plain)
    twice = boundary_loss([S, S], [T, T], pair_weight=0.7)[0]
    torch.testing.assert_close(twice, once)  # a mean over levels, as the fused map is


@pytest.mark.parametrize('options', [dict(), dict(boundary='mean'), dict(pair_weight=1.0)], ids=str)
def test_boundary_loss_is_0_for_equal_and_rotated_maps(options):
    S, T = levels()
    assert boundary_loss(S, [x.detach() for x in S], **options)[0].item() == 0
    close(boundary_loss(S, [rotated(3 * x.detach()) for x in S], **options)[0], 0.0)
    assert boundary_loss(S, T, **options)[0] > 1e-3


def test_boundary_loss_is_symmetric():
    S, T = levels()
    torch.testing.assert_close(boundary_loss(S, T)[0], boundary_loss(T, S)[0])


def test_boundary_gradcheck():
    S, T = maps(2, 3, (3, 4), n=1)
    torch.autograd.gradcheck(lambda x: boundary_loss([x], [T], pair_weight=0.5)[0], S)


def test_its_gradient_makes_boundaries_appear():
    """A student without boundaries where the teacher has them gets one by gradient descent on this loss
    alone.
    """
    T = torch.zeros(1, 2, 6, 6)
    T[:, 0, :, :3] = T[:, 1, :, 3:] = 1
    S = torch.nn.Parameter(torch.ones(1, 3, 6, 6) + 0.1 * torch.randn(1, 3, 6, 6))
    optimizer, loss = torch.optim.Adam([S], lr=0.05), BoundaryDistillLoss()
    before = loss(feat_S_0=S, feat_T_0=T).item()
    for _ in range(150):
        optimizer.zero_grad()
        value = loss(feat_S_0=S, feat_T_0=T)
        value.backward()
        optimizer.step()
    assert value < before / 20
    found = boundary_map(S.detach())[0, 0]
    assert found[:, 2:4].min() > 0.3 > 0.2 > found[:, [0, 5]].max()


# The context loss.


def test_context_loss_is_the_divergence_of_the_relations():
    S, T = maps()
    log_S, log_T = (self_relation(x.flatten(2).mT, 0.1).log() for x in (S, T))
    expected = (log_T.exp() * (log_T - log_S)).sum(2).mean()
    for tokens in (None, 48, 2048):
        torch.testing.assert_close(context_loss(S, T, tokens), expected)


def test_gram_is_the_error_of_the_cosines():
    S, T = maps()
    cosines = [phi.mT @ phi for phi in (F.normalize(x.flatten(2)) for x in (S, T))]
    torch.testing.assert_close(context_loss(S, T, relation='gram'), (cosines[0] - cosines[1]).square().mean())
    torch.testing.assert_close(context_loss(T, S, relation='gram'), (cosines[0] - cosines[1]).square().mean())
    torch.autograd.gradcheck(lambda x: context_loss(x, T, relation='gram'), S)


@pytest.mark.parametrize('relation', ['softmax', 'gram'])
def test_context_loss_is_0_for_equal_and_rotated_maps(relation):
    S, T = maps(4, 4)
    close(context_loss(S, S.detach(), relation=relation), 0.0)
    close(context_loss(S, rotated(3 * S.detach()), relation=relation), 0.0)
    assert context_loss(S, T, relation=relation) > 1e-2
    order = torch.randperm(48)
    shuffled = (x.flatten(2)[..., order].view_as(x) for x in (S, T))
    expected = context_loss(S, T, relation=relation)
    torch.testing.assert_close(context_loss(*shuffled, relation=relation), expected)


def test_zero_vectors_are_nothing_to_either_relation():
    for relation in ('softmax', 'gram'):
        S, T = maps(dtype=torch.float32)
        with torch.no_grad():
            S[:, :, 1] = 0
        context_loss(S, T, relation=relation).backward()
        assert S.grad[:, :, 1].count_nonzero() == 0 and S.grad.isfinite().all() and S.grad.abs().sum() > 0


def test_finer_maps_are_pooled():
    S, T = maps(size_S=(12, 8), size_T=(6, 16))
    pooled = [F.adaptive_avg_pool2d(x, (6, 8)) for x in (S, T)]
    torch.testing.assert_close(context_loss(S, T), context_loss(*pooled))
    small = [F.adaptive_avg_pool2d(x, (3, 4)) for x in (S, T)]
    torch.testing.assert_close(context_loss(S, T, tokens=12), context_loss(*small))
    assert not torch.isclose(context_loss(S, T, tokens=12), context_loss(S, T, tokens=None))


# What does not count.


def boundary_of(label=None, **given):
    loss = BoundaryDistillLoss(valid_only=True, pair_weight=0.5)
    return lambda S, T: loss(feat_S_0=S, feat_T_0=T, label=label, **given)


def context_of(relation, label=None, tokens=2048, **given):
    loss = ContextDistillLoss(tokens, relation, valid_only=True)
    return lambda S, T: loss(S, T, label=label, **given)


MAKERS = [boundary_of, partial(context_of, 'softmax'), partial(context_of, 'gram')]
NAMES = ['boundary', 'softmax', 'gram']


@pytest.mark.parametrize(
    'size_T', [(6, 8), (12, 16), (3, 4)], ids=['one stride', 'coarser student', 'finer student']
)
@pytest.mark.parametrize('make', MAKERS, ids=NAMES)
def test_ignored_labels_and_padding_have_no_influence(make, size_T):
    """The first image is cut to two thirds of the places by three quarters: as if each had come alone."""
    S, T = maps(size_T=size_T)
    label = torch.zeros(2, 24, 32, dtype=torch.uint8)
    label[0, 16:], label[0, :, 24:] = 255, 255
    area = dict(img_shape=[(16, 24), (24, 32)], inputs=torch.zeros(2, 3, 24, 32))

    def cut(x):
        return x[:1, :, : x.shape[2] * 2 // 3, : x.shape[3] * 3 // 4]

    whole = make(img_shape=[(1, 1)], inputs=torch.zeros(1, 3, 1, 1))
    alone = [whole(cut(S), cut(T)), whole(S[1:], T[1:])]
    share = torch.tensor([1 / 3, 2 / 3] if make is boundary_of else [1 / 2, 1 / 2])  # by places; by images
    expected = alone[0] * share[0] + alone[1] * share[1]
    for loss in (make(label), make(label.unsqueeze(1)), make(**area)):
        for junk in (0.0, 1e9, float('nan')):
            S_junk, T_junk = S.detach().clone(), T.clone()
            for x in (S_junk, T_junk):
                kept = cut(x).clone()
                x[0] = junk
                cut(x).copy_(kept)
            S_junk.requires_grad_()
            value = loss(S_junk, T_junk)
            torch.testing.assert_close(value, expected)
            grad = torch.autograd.grad(value, S_junk)[0]
            inside = torch.zeros_like(S, dtype=torch.bool)
            cut(inside).fill_(True)
            assert grad[0].masked_select(~inside[0]).count_nonzero() == 0
            assert grad.isfinite().all() and cut(grad).abs().sum() > 0
    assert not torch.isclose(make(torch.zeros_like(label))(S, T), expected)


@pytest.mark.parametrize('make', MAKERS[1:], ids=NAMES[1:])
def test_a_bound_on_tokens_does_not_let_ignored_places_in(make):
    """Cells of 3 x 3 places of which some count: what the others hold does not matter."""
    S, T = maps(size_S=(12, 12))
    label = torch.zeros(2, 12, 12, dtype=torch.long)
    label[:, :, 7:] = 255
    loss = make(label, tokens=16)
    expected = loss(S, T)
    for junk in (1e3, float('nan')):
        spoilt = [x.detach().masked_fill((label == 255).unsqueeze(1), junk).requires_grad_() for x in (S, T)]
        value = loss(*spoilt)
        torch.testing.assert_close(value, expected)
        grad = torch.autograd.grad(value, spoilt[0])[0]
        assert grad[..., 7:].count_nonzero() == 0 and grad.isfinite().all() and grad[..., 6].abs().sum() > 0


def test_levels_end_where_the_image_ends():
    """Two levels of an image that is padded by half: its boundaries are those of the image alone."""
    pairs = [maps(4, 6, (8, 16)), maps(8, 12, (2, 4))]
    named = {f'feat_{side}_{i}': x for i, pair in enumerate(pairs) for side, x in zip('ST', pair)}
    loss = BoundaryDistillLoss(valid_only=True)
    padded = loss(**named, img_shape=[(32, 32)] * 2, inputs=torch.zeros(2, 3, 32, 64))
    cropped = {name: x[..., : x.shape[3] // 2] for name, x in named.items()}
    alone = loss(**cropped, img_shape=[(32, 32)] * 2, inputs=torch.zeros(2, 3, 32, 32))
    torch.testing.assert_close(padded, alone)


@pytest.mark.parametrize('make', MAKERS, ids=NAMES)
def test_an_image_of_which_nothing_counts_is_left_out(make):
    S, T = maps()
    label = torch.zeros(2, 6, 8, dtype=torch.long)
    label[0] = 255
    torch.testing.assert_close(make(label)(S, T), make(label[1:])(S[1:], T[1:]))


@pytest.mark.parametrize('make', MAKERS, ids=NAMES)
def test_nothing_that_counts_is_a_loss_of_0(make):
    S, T = maps()
    value = make(torch.full((2, 12, 16), 255))(S, T)
    value.backward()
    assert value.item() == 0 and S.grad.count_nonzero() == 0


def test_ignored_is_what_the_label_says():
    S, T = maps()
    label = torch.zeros(2, 6, 8, dtype=torch.long)
    label[:, :2] = 7

    def loss(index):
        return ContextDistillLoss(valid_only=True, ignore_index=index)(S, T, label)

    ignored = loss(7)
    assert loss(255) == loss(None) != ignored
    label[:, :2] = -1
    assert loss(None) == ignored


# Both, as modules.


def test_modules_multiply_by_their_weight():
    S, T = levels()
    given = {f'feat_{side}_{i}': x for side, feats in (('S', S), ('T', T)) for i, x in enumerate(feats)}
    loss = MODELS.build(dict(type='BoundaryDistillLoss', loss_weight=3.0, pair_weight=0.2))
    value, stats = boundary_loss(S, T, pair_weight=0.2)
    torch.testing.assert_close(loss(**given), 3 * value)
    torch.testing.assert_close(loss.stats, stats)
    assert not any(s.requires_grad for s in stats.values())
    assert BoundaryDistillLoss().loss_weight == 10.0 and ContextDistillLoss().loss_weight == 1.0
    context = MODELS.build(dict(type='ContextDistillLoss', loss_weight=3.0, tau=0.5))
    torch.testing.assert_close(context(S[0], T[0]), 3 * context_loss(S[0], T[0], tau=0.5))
    assert not list(loss.parameters()) and not list(context.parameters())


def test_autocast_and_half_maps_are_reduced_in_float32():
    S, T = maps(dtype=torch.bfloat16)
    for loss, given in (
        (BoundaryDistillLoss(pair_weight=0.5), dict(feat_S_0=S, feat_T_0=T)),
        (ContextDistillLoss(tokens=12), dict(feat_S=S, feat_T=T)),
        (ContextDistillLoss(relation='gram'), dict(feat_S=S, feat_T=T)),
    ):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            value = loss(**given)
        expected = loss(**{name: x.float() for name, x in given.items()})
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
        assert value.dtype == torch.float32
        assert torch.autograd.grad(value, S)[0].dtype == torch.bfloat16


def test_the_teacher_gets_no_gradient():
    S, T = maps()
    T.requires_grad_()
    boundary = BoundaryDistillLoss(pair_weight=1.0)(feat_S_0=S, feat_T_0=T)
    (boundary + ContextDistillLoss()(S, T) + ContextDistillLoss(relation='gram')(S, T)).backward()
    assert T.grad is None and S.grad.abs().sum() > 0


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="boundary='sobel' is not known. Possible: 'affinity', 'mean'"):
        BoundaryDistillLoss(boundary='sobel')
    with pytest.raises(ValueError, match='tokens must be a whole number of 2 or more, or None. Got: 1'):
        ContextDistillLoss(tokens=1)
    with pytest.raises(TypeError, match="valid_only must be True or False. Got: 'yes'"):
        BoundaryDistillLoss(valid_only='yes')
    with pytest.raises(ValueError, match=r'valid_only=True needs .*label=dict\(from_data='):
        ContextDistillLoss(valid_only=True)(*maps())


def test_wrong_maps_are_named():
    S, T = maps()
    for given in (dict(), dict(feat_S_0=S), dict(feat_S_0=S, feat_T_1=T)):
        with pytest.raises(ValueError, match='give pairs of maps feat_S_0, feat_T_0, feat_S_1, feat_T_1'):
            BoundaryDistillLoss()(**given)
    with pytest.raises(ValueError, match='as many maps of the student as of the teacher.* Got: 1, 0'):
        boundary_loss([S], [])
    with pytest.raises(ValueError, match='feat_S_0 must be a map N x C x H x W; tokens N x L x C do not say'):
        boundary_loss([S.flatten(2)], [T])
    with pytest.raises(ValueError, match='BoundaryDistillLoss: feat_T_0 must have the same batch'):
        boundary_loss([S[:1]], [T])
    with pytest.raises(ValueError, match='share a single place.*Tap an earlier stage'):
        ContextDistillLoss()(*maps(size_S=(1, 1)))
