import math

import pytest
import torch
from dispatch import Count
from mmengine.registry import MODELS

from kd_methods.methods.i2ckd import I2CKDLoss, i2ckd_loss, prototype_distances, triplet_loss
from kd_methods.ops.labels import resize_labels
from kd_methods.ops.prototypes import class_prototypes

K = 5
ABSOLUTE = dict(unit='absolute')


def scene(seed=0, n=3, c=6, size=8, classes=K, dtype=torch.float64, ignored=0.15):
    """Student map, teacher map and label; the label holds 255, -1 and classes absent in places."""
    g = torch.Generator().manual_seed(seed)
    feat_S, feat_T = torch.randn(2, n, c, size, size, generator=g, dtype=torch.float64).to(dtype)
    label = torch.randint(0, classes, (n, size, size), generator=g)
    label[0][label[0] == 1] = 0
    where = torch.rand(label.shape, generator=g)
    label = label.masked_fill(where < ignored, 255).masked_fill(where < ignored / 2, -1)
    return feat_S.requires_grad_(), feat_T, label


def loss_of(feat_S, feat_T, label, **options):
    return i2ckd_loss(feat_S, feat_T, label, K, **options)[0]


def assert_equal(a, b, tol=1e-10):
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


def distance_of(a, b, options):
    if options.get('normalize') or options.get('distance') == 'cosine':
        a, b = a / a.norm(), b / b.norm()
    return 1 - a @ b if options.get('distance') == 'cosine' else (a - b).norm()


def brute_force(feat_S, feat_T, label, weight=None, **options):
    """The definition, with a loop over images and classes."""
    if weight is not None:
        feat_S = torch.einsum('tc,nchw->nthw', weight, feat_S)
    images = [[i] for i in range(len(label))]
    if options.get('scope') == 'batch':
        images = [list(range(len(label)))]
    scenes, between = [], []
    for image in images:
        proto = {}
        for k in range(K):
            maps = []
            for feature in (feat_S, feat_T):
                grid = resize_labels(label, feature.shape[2:])[image]
                maps.append(feature[image].transpose(0, 1)[:, grid == k])
            if all(m.shape[1] >= options.get('min_pixels', 1) for m in maps):
                proto[k] = [m.mean(1) for m in maps]
        scenes.append(proto)
        between += [distance_of(proto[a][1], proto[b][1], options) for a in proto for b in proto if a != b]
    unit = 1.0
    if options.get('unit', 'teacher') == 'teacher' and between:
        unit = torch.stack(between).median()
    means = []
    for proto in scenes:
        if len(proto) < 2:
            continue
        terms = []
        for a in proto:
            pos = distance_of(proto[a][0], proto[a][1], options)
            neg = [distance_of(proto[a][0], proto[b][1], options) for b in proto if b != a]
            if options.get('negatives') == 'hardest':
                neg = [min(neg)]
            terms += [((pos - d) / unit + options.get('margin', 1.0)).clamp(min=0) for d in neg]
        means.append(torch.stack(terms).mean())
    return torch.stack(means).mean() if means else feat_S.sum() * 0


OPTIONS = [
    dict(),
    dict(unit='absolute', margin=0.3),
    dict(distance='cosine'),
    dict(distance='cosine', unit='absolute', margin=0.5),
    dict(normalize=True, margin=0.2),
    dict(negatives='hardest'),
    dict(scope='batch'),
    dict(scope='batch', negatives='hardest', unit='absolute'),
    dict(min_pixels=10),
    dict(scope='batch', min_pixels=30, distance='cosine'),
]
# Every branch of the code once, for what does not depend on their combination.
FEW = [
    dict(),
    dict(distance='cosine', unit='absolute', margin=0.5),
    dict(normalize=True, negatives='hardest', scope='batch', min_pixels=3),
]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('project', [None, 'prototypes', 'map'])
def test_equals_brute_force_in_value_and_gradient(options, project):
    feat_S, feat_T, label = scene()
    inputs, weight = [feat_S], None
    if project:
        feat_S = torch.randn(3, 4, 8, 8, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
        inputs, options = [feat_S, weight], dict(options, project=project)
    got = loss_of(feat_S, feat_T, label, weight=weight, **options)
    expected = brute_force(feat_S, feat_T, label, weight, **options)
    assert got > 0
    assert_equal(got, expected)
    for a, b in zip(torch.autograd.grad(got, inputs), torch.autograd.grad(expected, inputs)):
        assert_equal(a, b)


def test_each_map_has_its_own_grid():
    feat_S, feat_T, _ = scene()
    feat_T = feat_T[..., ::2, ::2]
    label = torch.randint(0, K, (3, 1, 50, 70), dtype=torch.uint8)
    got = loss_of(feat_S, feat_T, label)
    assert_equal(got, brute_force(feat_S, feat_T, label))


@pytest.mark.parametrize('project', ['prototypes', 'map'])
def test_module_is_the_function(project):
    feat_S, feat_T, label = scene(dtype=torch.float32)
    feat_S = feat_S[:, :4]
    options = dict(project=project, margin=0.7, scope='batch')
    channels = dict(student_channels=4, teacher_channels=6)
    cfg = dict(type='I2CKDLoss', num_classes=K, **channels, loss_weight=3.0, **options)
    module = MODELS.build(cfg)
    loss, stats = i2ckd_loss(feat_S, feat_T, label, K, module.projection.weight, **options)
    assert module(feat_S, feat_T, label).equal(3 * loss)
    assert module.stats == stats
    assert not any(value.requires_grad for value in module.stats.values())
    assert all(value.dim() == 0 for value in module.stats.values())


def test_hand_computed_value():
    # Classes 0 and 1: teacher at 0 and (4, 0), student at (0, 3) and (4, 0); unit 4.
    feat_T = torch.tensor([[[[0.0, 4.0, 4.0, 9.0]], [[0.0, -1.0, 1.0, 9.0]]]])
    feat_S = torch.tensor([[[[0.0, 4.0, 4.0, 9.0]], [[3.0, 0.0, 0.0, 9.0]]]])
    label = torch.tensor([[[0, 1, 1, 255]]])
    # Anchor 0: 3 from its positive, 5 from the other. Anchor 1: 0 and 4.
    loss, stats = i2ckd_loss(feat_S, feat_T, label, 2, unit='absolute', margin=4.5)
    assert loss.item() == (2.5 + 0.5) / 2
    assert {k: v.item() for k, v in stats.items()} == dict(active=1.0, d_pos=1.5, D=4.0)
    loss, stats = i2ckd_loss(feat_S, feat_T, label, 2)
    assert loss.item() == (0.5 + 0.0) / 2
    expected = dict(active=0.5, d_pos=0.375, D=1.0, unit=4.0)
    assert {k: v.item() for k, v in stats.items()} == expected


@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
@pytest.mark.parametrize('factor, zero', [(0.5, True), (1.0, True), (1.7, False)])
def test_equal_networks_give_the_known_value(distance, factor, zero):
    _, feat_T, label = scene()
    prototypes, present = class_prototypes(feat_T, label, K)
    inter = prototype_distances(prototypes, prototypes, distance)[2]
    per_image = []
    for i in range(len(label)):
        index = present[i].nonzero().flatten()
        pairs = inter[i][index][:, index]
        per_image.append(pairs[~torch.eye(len(index), dtype=torch.bool)])
    margin = factor * min(x.min() for x in per_image).item()
    loss = loss_of(feat_T, feat_T, label, distance=distance, margin=margin, unit='absolute')
    if zero:
        assert loss.item() == 0
    else:
        hinge = torch.stack([(margin - x).clamp(min=0).mean() for x in per_image])
        assert loss > 0
        assert_equal(loss, hinge.mean())


@pytest.mark.parametrize(('seed', 'margin'), [(0, 1.0), (1, 0.1), (2, 5.0), (3, 0.1), (4, 1.0)])
def test_every_triplet_is_bounded_by_margin_and_teacher(seed, margin):
    feat_S, feat_T, label = scene(seed)
    scale = 10.0 ** (seed - 2)  # from a student in one point to one far away
    S, present = class_prototypes(feat_S * scale, label, K)
    T, _ = class_prototypes(feat_T, label, K)
    d_pos, d_neg, D = prototype_distances(S, T)
    triplets = (d_pos.unsqueeze(2) - d_neg + margin).clamp(min=0)
    both = present.unsqueeze(1) & present.unsqueeze(2)
    assert (triplets >= (margin - D).clamp(min=0) - 1e-9)[both].all()
    assert (triplets <= margin + D + 1e-9)[both].all()


def orthogonal(x):
    q = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    return lambda f: torch.einsum('tc,nchw->nthw', q, f)


def translation(x):
    t = torch.randn(1, 6, 1, 1, dtype=torch.float64)
    return lambda f: f + t


@pytest.mark.parametrize('unit', ['absolute', 'teacher'])
@pytest.mark.parametrize('change', [orthogonal, translation])
def test_invariant_to_a_rigid_motion_of_both_maps(change, unit):
    feat_S, feat_T, label = scene()
    move = change(feat_S)
    before = loss_of(feat_S, feat_T, label, unit=unit)
    assert_equal(loss_of(move(feat_S), move(feat_T), label, unit=unit), before)


@pytest.mark.parametrize('options', FEW, ids=str)
def test_invariant_to_order_of_pixels_images_and_classes(options):
    feat_S, feat_T, label = scene()
    before = loss_of(feat_S, feat_T, label, **options)
    pixels = torch.randperm(64)
    moved = [x.flatten(-2)[..., pixels].unflatten(-1, (8, 8)) for x in (feat_S, feat_T, label)]
    assert_equal(loss_of(*moved, **options), before)
    images = torch.randperm(3)
    assert_equal(loss_of(*(x[images] for x in (feat_S, feat_T, label)), **options), before)
    names = torch.randperm(K)
    renamed = torch.where((label >= 0) & (label < K), names[label.clamp(0, K - 1)], label)
    assert_equal(loss_of(feat_S, feat_T, renamed, **options), before)


def test_invariant_to_zero_mean_noise_inside_a_class():
    feat_S, feat_T, label = scene()
    noise = torch.randn_like(feat_S.detach())
    mean, _ = class_prototypes(noise, label, K)
    valid = (label >= 0) & (label < K)
    own = mean.gather(1, label.clamp(0, K - 1).flatten(1).unsqueeze(2).expand(-1, -1, 6))
    noise = (noise - own.transpose(1, 2).unflatten(2, (8, 8))) * valid.unsqueeze(1)
    for options in (ABSOLUTE, {}):
        before = loss_of(feat_S, feat_T, label, **options)
        assert_equal(loss_of(feat_S + noise, feat_T + noise, label, **options), before)


@pytest.mark.parametrize('k', [1e-3, 7.0])
def test_scaling_both_maps(k):
    feat_S, feat_T, label = scene()
    before = loss_of(feat_S, feat_T, label, unit='absolute', margin=0.4)
    scaled = loss_of(k * feat_S, k * feat_T, label, unit='absolute', margin=0.4 * k)
    assert_equal(scaled, k * before)
    before = loss_of(feat_S, feat_T, label)
    assert_equal(loss_of(k * feat_S, k * feat_T, label), before)


@pytest.mark.parametrize('project', [None, 'prototypes', 'map'])
@pytest.mark.parametrize('content', [1e30, math.nan, math.inf])
def test_ignored_pixels_have_no_influence(project, content):
    feat_S, feat_T, label = scene()
    weight = torch.randn(6, 6, dtype=torch.float64, requires_grad=True) if project else None
    options = dict(weight=weight, project=project or 'prototypes')
    ignored = ((label < 0) | (label >= K)).unsqueeze(1)
    before = loss_of(feat_S, feat_T, label, **options)
    wild_S, wild_T = (x.detach().masked_fill(ignored, content) for x in (feat_S, feat_T))
    wild_S.requires_grad_()
    after = loss_of(wild_S, wild_T, label, **options)
    assert after.equal(before)
    inputs = [wild_S] + ([weight] if project else [])
    grads = torch.autograd.grad(after, inputs)
    assert grads[0].masked_select(ignored).eq(0).all()
    assert grads[0].ne(0).any()
    assert all(grad.isfinite().all() for grad in grads)


def test_pixels_of_one_class_in_one_image_share_their_gradient():
    feat_S, feat_T, label = scene()
    loss_of(feat_S, feat_T, label).backward()
    for i in range(3):
        for k in label[i].unique().tolist():
            grad = feat_S.grad[i][:, label[i] == k]
            assert grad.eq(grad[:, :1]).all()


def lone_class(label):
    return torch.full_like(label, 2)


def all_ignored(label):
    return torch.where(torch.arange(8) % 2 == 0, 255, -1).expand_as(label)


@pytest.mark.parametrize('options', [*FEW, dict(negatives='random')], ids=str)
@pytest.mark.parametrize('project', ['prototypes', 'map'])
@pytest.mark.parametrize('make', [lone_class, all_ignored])
def test_without_a_pair_the_loss_is_zero_and_attached(make, options, project):
    feat_S, feat_T, label = scene(dtype=torch.float32)
    module = I2CKDLoss(K, 4, 6, project=project, **options)
    feat_S = feat_S.detach()[:, :4].requires_grad_()
    if make is all_ignored:
        feat_T = torch.full_like(feat_T, math.nan)
    loss = module(feat_S, feat_T, make(label))
    assert loss.item() == 0
    loss.backward()
    assert feat_S.grad.eq(0).all()
    assert module.projection.weight.grad.eq(0).all()
    assert all(value.isfinite() for value in module.stats.values())


def test_an_image_without_a_pair_does_not_count():
    feat_S, feat_T, label = scene()
    before = loss_of(feat_S[1:], feat_T[1:], label[1:])
    label = torch.cat([torch.full_like(label[:1], 3), label[1:]])
    assert_equal(loss_of(feat_S, feat_T, label), before)


@pytest.mark.parametrize('options', [{}, dict(distance='cosine'), dict(normalize=True)], ids=str)
@pytest.mark.parametrize('scale', [0.0, 1.0])
def test_at_equality_the_distance_has_gradient_zero(options, scale):
    T = scale * torch.randn(2, 4, 6)
    S = T.clone().requires_grad_()
    d_pos, d_neg, _ = prototype_distances(S, T, **options)
    assert d_pos.eq(0).all()
    (d_pos.sum() + d_neg.diagonal(dim1=1, dim2=2).sum()).backward()
    assert S.grad.eq(0).all()


@pytest.mark.parametrize('options', FEW, ids=str)
@pytest.mark.parametrize('constant', ['student', 'teacher', 'both'])
def test_constant_maps_are_finite(options, constant):
    feat_S, feat_T, label = scene(dtype=torch.float32)
    if constant != 'teacher':
        feat_S = torch.zeros_like(feat_S).requires_grad_()
    if constant != 'student':
        feat_T = torch.zeros_like(feat_T)
    loss = loss_of(feat_S, feat_T, label, **options)
    grad = torch.autograd.grad(loss, feat_S)[0]
    assert loss.isfinite() and grad.isfinite().all()
    if constant == 'both':
        assert loss.item() == pytest.approx(options.get('margin', 1.0))
        assert grad.eq(0).all()


def test_the_teacher_receives_no_gradient():
    feat_S, feat_T, label = scene()
    feat_T.requires_grad_()
    loss_of(feat_S, feat_T, label).backward()
    assert feat_T.grad is None
    assert feat_S.grad.ne(0).any()


@pytest.mark.parametrize('options', FEW, ids=str)
def test_gradcheck(options):
    feat_S, feat_T, label = scene(n=2, c=3, size=5)
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)

    def loss(feature, weight):
        return loss_of(feature, feat_T, label, weight=weight, **options)

    assert torch.autograd.gradcheck(loss, (feat_S, weight))


def test_a_step_along_the_gradient_pulls_prototypes_together():
    feat_S, feat_T, label = scene()
    before = None
    for _ in range(30):
        loss, stats = i2ckd_loss(feat_S, feat_T, label, K)
        before = before or stats['d_pos'].item()
        feat_S = (feat_S - 5 * torch.autograd.grad(loss, feat_S)[0]).detach().requires_grad_()
    assert stats['d_pos'].item() < before / 2


@pytest.mark.parametrize('options', [*FEW, dict(project='map')], ids=str)
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_autocast_leaves_the_loss_in_float32(options, dtype):
    feat_S, feat_T, label = scene(dtype=torch.float32)
    feat_S, feat_T = (x.detach().sign().mul(1e3).to(dtype) for x in (feat_S[:, :4], feat_T))
    feat_S.requires_grad_()
    module = I2CKDLoss(K, 4, 6, **options)
    expected = module(feat_S, feat_T, label)
    wanted = torch.autograd.grad(expected, feat_S)[0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = module(feat_S, feat_T, label)
    grad = torch.autograd.grad(loss, feat_S)[0]
    assert loss.dtype == torch.float32
    assert loss.isfinite() and grad.isfinite().all()
    assert loss.equal(expected)
    assert grad.equal(wanted)


def test_random_negatives_are_other_present_classes_drawn_evenly():
    d_neg = torch.arange(4.0).expand(1, 4, 4)
    present = torch.tensor([[True, True, False, True]])
    torch.manual_seed(0)
    random = dict(margin=0.0, negatives='random')
    losses = [triplet_loss(torch.zeros(1, 4), -d_neg, present, **random)[0] for _ in range(400)]
    # The anchors 0, 1 and 3 draw one of {1, 3}, {0, 3} and {0, 1}.
    sums = (3 * torch.stack(losses)).round()
    assert set(sums.tolist()) == {a + b + c for a in (1, 3) for b in (0, 3) for c in (0, 1)}
    assert sums.mean().item() == pytest.approx(2 + 1.5 + 0.5, abs=0.3)
    torch.manual_seed(0)
    again = triplet_loss(torch.zeros(1, 4), -d_neg, present, **random)[0]
    assert again.equal(losses[0])


def test_hardest_is_never_below_all_and_random_lies_between_extremes():
    feat_S, feat_T, label = scene()
    kinds = ('all', 'hardest', 'random')
    all_pairs, hardest, random = (loss_of(feat_S, feat_T, label, negatives=kind) for kind in kinds)
    assert all_pairs < hardest
    assert 0 <= random <= hardest


def operations(n, classes, options):
    feat_S, feat_T = torch.randn(2, n, 16, 32, 32)
    label = torch.randint(0, classes, (n, 64, 64))
    feat_S = feat_S[:, :8].clone().requires_grad_()
    module = I2CKDLoss(classes, 8, 16, **options)
    with Count() as count:
        module(feat_S, feat_T, label).backward()
    return count


@pytest.mark.parametrize('options', [*FEW, dict(negatives='random'), dict(project='map')], ids=str)
def test_cost_and_memory_do_not_grow_with_a_loop(options):
    small, large = operations(1, 3, options), operations(4, 150, options)
    assert small.names == large.names
    # Nothing of pairs x channels or pixels x classes, in forward or backward.
    assert large.largest <= max(4 * 16 * 32 * 32, 4 * 150 * 151)
    # What would wait for the device.
    waits = {'_local_scalar_dense', 'item', 'nonzero', '_unique2', 'masked_select', 'bincount'}
    assert not waits & set(large.names)


def test_wrong_options_are_named():
    with pytest.raises(
        ValueError, match="negatives='hard' is not known. Possible: 'all', 'hardest', 'random'"
    ):
        I2CKDLoss(K, negatives='hard')
    with pytest.raises(ValueError, match="i2ckd_loss: margin must be a number of 0 or more. Got: 'abc'"):
        loss_of(*scene(), margin='abc')
    with pytest.raises(TypeError, match="I2CKDLoss: normalize must be True or False. Got: 'False'"):
        I2CKDLoss(K, normalize='False')
    with pytest.raises(ValueError, match='student_channels=4, teacher_channels=None'):
        I2CKDLoss(K, student_channels=4)


def test_wrong_inputs_are_named():
    feat_S, feat_T, label = scene(dtype=torch.float32)
    loss = I2CKDLoss(K)
    with pytest.raises(ValueError, match='num_classes is not set'):
        I2CKDLoss()(feat_S, feat_T, label)
    with pytest.raises(ValueError, match='4 channels and feat_T has 6, with no projection. Set '):
        loss(feat_S[:, :4], feat_T, label)
    with pytest.raises(ValueError, match='a projection 5 -> 6. Set student_channels=4, '):
        I2CKDLoss(K, 5, 6)(feat_S[:, :4], feat_T, label)
    with pytest.raises(TypeError, match='feat_T must be a tensor N x C x H x W. Got: tuple'):
        loss(feat_S, (feat_T,), label)
    with pytest.raises(ValueError, match=r'feat_S must be .* Got: torch.float32, \(3, 6, 8\)'):
        loss(feat_S[..., 0], feat_T, label)
    with pytest.raises(ValueError, match='label and feat_T must have the same batch size'):
        loss(feat_S, feat_T[:2], label)
    with pytest.raises(TypeError, match='label must hold integers'):
        loss(feat_S, feat_T, label.float())
