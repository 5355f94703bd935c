"""Attention, masks and the loss of DMKD."""

import itertools
import math

import pytest
import torch
from mmengine.registry import MODELS
from scipy import stats

from kd_methods.methods.dmkd import DMKDLoss, attention, attention_mask, scores

BRANCHES = ('spatial', 'channel')


@pytest.fixture
def maps():
    g = torch.Generator().manual_seed(0)
    student = torch.randn(2, 4, 6, 5, generator=g, dtype=torch.float64, requires_grad=True)
    return student, torch.randn(2, 8, 6, 5, generator=g, dtype=torch.float64)


def make(**kwargs):
    torch.manual_seed(0)
    return DMKDLoss(**{**dict(student_channels=4, teacher_channels=8, loss_weight=1.0), **kwargs}).double()


# Attention


@pytest.mark.parametrize('over', BRANCHES)
@pytest.mark.parametrize('tau', [0.05, 0.5, 5.0])
def test_attention_has_mean_one(maps, over, tau):
    A = attention(maps[1], over, tau)
    assert A.shape == ((2, 1, 6, 5) if over == 'spatial' else (2, 8, 1, 1))
    torch.testing.assert_close(A.flatten(1).mean(1), torch.ones(2, dtype=torch.float64))


def test_attention_by_hand():
    feature = torch.tensor([[[[1.0, -3.0]], [[1.0, 1.0]]]])  # magnitudes: places 1 and 2, channels 2 and 1
    spatial = 2 * torch.tensor([1.0, 2.0]).div(0.5).softmax(0)
    channel = 2 * torch.tensor([2.0, 1.0]).div(0.5).softmax(0)
    torch.testing.assert_close(attention(feature, 'spatial').flatten(), spatial)
    torch.testing.assert_close(attention(feature, 'channel').flatten(), channel)


@pytest.mark.parametrize('over', BRANCHES)
def test_attention_looks_at_magnitudes_and_their_differences_alone(maps, over):
    feature = maps[1]
    torch.testing.assert_close(attention(-feature, over), attention(feature, over))
    torch.testing.assert_close(attention(feature.abs() + 3, over), attention(feature, over))
    assert not torch.allclose(attention(2 * feature, over), attention(feature, over))


@pytest.mark.parametrize('over', BRANCHES)
def test_a_large_temperature_evens_the_attention_out(maps, over):
    torch.testing.assert_close(attention(maps[1], over, 1e9), torch.ones_like(attention(maps[1], over)))


def test_no_gradient_goes_through_the_attention(maps):
    assert not attention(maps[0]).requires_grad and not scores(maps[0]).requires_grad


# Masks


@pytest.mark.parametrize('over', BRANCHES)
@pytest.mark.parametrize('mask', ['important', 'unimportant', 'random'])
@pytest.mark.parametrize('select', ['sample', 'top'])
@pytest.mark.parametrize('ratio', [0.0, 0.45, 1.0])
def test_exactly_the_share_is_hidden_in_each_image(maps, over, mask, select, ratio):
    kept = attention_mask(maps[1], over, ratio, mask, select)
    n = 30 if over == 'spatial' else 8
    assert kept.dtype == torch.bool and kept.shape == attention(maps[1], over).shape
    assert (~kept).flatten(1).sum(1).tolist() == [round(ratio * n)] * 2


def test_equal_scores_hide_exactly_the_share_too():
    for select in ('sample', 'top'):
        hidden = ~attention_mask(torch.zeros(3, 4, 5, 5), ratio=0.4, select=select)
        assert hidden.flatten(1).sum(1).tolist() == [10] * 3


def test_top_hides_the_largest_or_the_smallest(maps):
    g = scores(maps[1]).flatten(1)
    for mask, largest in (('important', True), ('unimportant', False)):
        hidden = ~attention_mask(maps[1], ratio=0.3, mask=mask, select='top').flatten(1)
        for row, chosen in zip(g if largest else -g, hidden):
            assert row[chosen].min() > row[~chosen].max()
    torch.manual_seed(1)
    first = attention_mask(maps[1], select='top')
    torch.manual_seed(2)
    assert torch.equal(first, attention_mask(maps[1], select='top', tau=7.0))


def test_sampling_follows_the_seed(maps):
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(attention_mask(maps[1]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize('over', BRANCHES)
@pytest.mark.parametrize(
    ('mask', 'tau'),
    [('important', 0.5), ('important', 2.0), ('important', 1e9), ('unimportant', 0.5), ('random', 0.5)],
)
def test_one_draw_follows_the_attention(over, mask, tau):
    """Chi-square over 10,000 draws of one place, or channel, of six."""
    torch.manual_seed(0)
    g = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.1])
    feature = g.view((1, 1, 2, 3) if over == 'spatial' else (1, 6, 1, 1)).expand(10000, -1, -1, -1)
    hidden = ~attention_mask(feature, over, ratio=1 / 6, mask=mask, tau=tau).flatten(1)
    logits = {'important': g / tau, 'unimportant': -g / tau, 'random': 0 * g}[mask].double()
    expected = logits.softmax(0) * 10000
    assert stats.chisquare(hidden.sum(0).numpy(), expected.numpy()).pvalue > 0.001


def test_several_draws_are_without_replacement_by_probability():
    """Two of three places: the probability of each pair by the two orders in which it can be drawn."""
    torch.manual_seed(0)
    p = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    feature = (p.log() - p.log().min()).view(1, 1, 1, 3).expand(10000, 1, 1, 3)
    hidden = ~attention_mask(feature, ratio=2 / 3, tau=1.0).flatten(1)
    pairs = list(itertools.combinations(range(3), 2))
    counts = [int((hidden[:, a] & hidden[:, b]).sum()) for a, b in pairs]
    expected = [float(p[a] * p[b] * (1 / (1 - p[a]) + 1 / (1 - p[b]))) * 10000 for a, b in pairs]
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_a_small_temperature_is_top(maps):
    for tau in (1e-6, 1e-30):
        assert torch.equal(attention_mask(maps[1], tau=tau), attention_mask(maps[1], select='top'))


def test_masks_move_with_the_map(maps):
    feature = maps[1]
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    top = dict(ratio=0.5, select='top')
    places, channels = (attention_mask(feature, over, **top) for over in BRANCHES)
    assert torch.equal(attention_mask(feature[:, order], 'channel', **top), channels[:, order])
    assert torch.equal(attention_mask(feature[:, order], 'spatial', **top), places)
    for dims in ((2,), (3,), (2, 3)):
        assert torch.equal(attention_mask(feature.flip(dims), 'spatial', **top), places.flip(dims))
        assert torch.equal(attention_mask(feature.flip(dims), 'channel', **top), channels)


@pytest.mark.parametrize('over', BRANCHES)
def test_masks_look_at_magnitudes_and_their_differences_alone(maps, over):
    def draw(feature, **kwargs):
        torch.manual_seed(4)
        return attention_mask(feature, over, 0.5, **kwargs)

    feature = maps[1]
    assert torch.equal(draw(-feature), draw(feature))
    assert torch.equal(draw(feature.abs() + 3), draw(feature))
    assert torch.equal(draw(feature, tau=1.0), draw(3 * feature, tau=3.0))  # only g / tau counts


def test_random_knows_nothing_of_the_map(maps):
    drawn = []
    for feature, select in itertools.product((maps[1], 100 * maps[1].flip(2)), ('sample', 'top')):
        torch.manual_seed(6)
        drawn.append(attention_mask(feature, mask='random', select=select))
    assert all(torch.equal(mask, drawn[0]) for mask in drawn)


@pytest.mark.parametrize('tau', [1e-38, 1e38])
def test_no_temperature_overflows(tau):
    torch.manual_seed(0)
    feature = torch.rand(4000, 1, 1, 5) * torch.arange(1, 6)
    hidden = ~attention_mask(feature, ratio=0.2, tau=tau).flatten(1)
    if tau < 1:
        assert torch.equal(hidden.int().argmax(1), feature.flatten(1).argmax(1))
    else:
        assert stats.chisquare(hidden.sum(0).numpy(), [800.0] * 5).pvalue > 0.001


# The loss

CHANGES = [
    {},
    dict(tau=0.05),
    dict(tau=4.0),
    dict(mask='unimportant'),
    dict(mask='random'),
    dict(select='top'),
]


@pytest.mark.parametrize('options', CHANGES)
def test_the_loss_is_made_of_its_functions(maps, options):
    """Each option reaches each branch: the same draws, put together here."""
    student, teacher = maps
    teacher = teacher * torch.linspace(0.2, 3, 8, dtype=torch.float64).view(1, 8, 1, 1)
    loss = make(spatial_ratio=0.3, channel_ratio=0.75, **options)
    torch.manual_seed(9)
    value = loss(student, teacher)
    torch.manual_seed(9)
    assert torch.equal(loss(student, teacher), value)
    torch.manual_seed(9)
    kept = [attention_mask(teacher, over, ratio, **options) for over, ratio in zip(BRANCHES, (0.3, 0.75))]
    rebuilt = [loss.generation[over](loss.align(student) * mask) for over, mask in zip(BRANCHES, kept)]
    torch.testing.assert_close(value, ((rebuilt[0] + rebuilt[1]) / 2 - teacher).square().sum() / 2)


@pytest.mark.parametrize(
    ('name', 'values'),
    [
        ('tau', (0.05, 4.0)),
        ('mask', ('important', 'unimportant')),
        ('select', ('top', 'sample')),
        ('channel_ratio', (0.25, 0.75)),
        ('spatial_ratio', (0.25, 0.75)),
    ],
)
def test_each_option_makes_a_difference(maps, name, values):
    found = []
    for value in values:
        torch.manual_seed(9)
        loss = make(**{name: value})
        torch.manual_seed(9)
        found.append(loss(*maps))
    assert not torch.isclose(*found)


def test_by_hand(maps):
    """Brute force on 1 x 2 x 2 x 2, from the definition."""
    torch.manual_seed(0)
    loss = DMKDLoss(2, 2, spatial_ratio=0.5, channel_ratio=0.5, select='top', loss_weight=0.3).double()
    S, T = torch.randn(2, 1, 2, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        loss.fusion.copy_(torch.tensor([0.4, -0.7]))
    g_s = [[sum(abs(T[0, c, i, j]) for c in range(2)) / 2 for j in range(2)] for i in range(2)]
    g_c = [sum(abs(T[0, c, i, j]) for i in range(2) for j in range(2)) / 4 for c in range(2)]
    hidden_s = sorted(itertools.product(range(2), range(2)), key=lambda ij: -g_s[ij[0]][ij[1]])[:2]
    hidden_c = max(range(2), key=lambda c: g_c[c])
    spatial, channel = S.clone(), S.clone()
    for i, j in hidden_s:
        spatial[0, :, i, j] = 0
    channel[0, hidden_c] = 0

    def conv(x, layer):
        out = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
        for o, i, j in itertools.product(range(2), repeat=3):
            out[0, o, i, j] = layer.bias[o]
            for c, u, v in itertools.product(range(2), range(3), range(3)):
                if 0 <= i + u - 1 < 2 and 0 <= j + v - 1 < 2:
                    out[0, o, i, j] += layer.weight[o, c, u, v] * x[0, c, i + u - 1, j + v - 1]
        return out

    def rebuild(x, block):
        return conv(conv(x, block[0]).clamp(min=0), block[2])

    with torch.no_grad():
        a_s = math.exp(0.4) / (math.exp(0.4) + math.exp(-0.7))
        R_s, R_c = rebuild(spatial, loss.generation['spatial']), rebuild(channel, loss.generation['channel'])
        expected = 0.3 * ((a_s * R_s + (1 - a_s) * R_c - T) ** 2).sum()
    torch.testing.assert_close(loss(S, T), expected)
    torch.testing.assert_close(loss.stats['a_s'], torch.tensor(a_s, dtype=torch.float64))


def test_one_random_spatial_branch_is_mgd(maps, monkeypatch):
    """MMRazor's connector and loss, given the mask that was drawn here."""
    student, teacher = maps
    loss = make(branches='spatial', mask='random', loss_weight=2e-5)
    torch.manual_seed(5)
    value = loss(student, teacher)
    torch.manual_seed(5)
    kept = attention_mask(teacher, 'spatial', 0.65, 'random')
    channels = dict(student_channels=4, teacher_channels=8)
    connector = MODELS.build(dict(type='mmrazor.MGDConnector', **channels, lambda_mgd=0.65)).double()
    connector.align.load_state_dict(loss.align.state_dict())
    connector.generation.load_state_dict(loss.generation['spatial'].state_dict())
    monkeypatch.setattr(torch, 'rand', lambda *size: (~kept).double())  # above 1 - lambda: hidden
    theirs = MODELS.build(dict(type='mmrazor.MGDLoss', alpha_mgd=2e-5))(connector.train()(student), teacher)
    torch.testing.assert_close(value, theirs.to(value), rtol=1e-6, atol=0)


@pytest.mark.parametrize('branches', ['both', 'spatial', 'channel'])
def test_nothing_hidden_is_plain_generation(maps, branches):
    student, teacher = maps
    loss = make(branches=branches, spatial_ratio=0.0, channel_ratio=0.0)
    aligned = loss.align(student)
    rebuilt = sum(block(aligned) for block in loss.generation.values()) / len(loss.generation)
    torch.testing.assert_close(loss(student, teacher), (rebuilt - teacher).square().sum() / 2)


def test_everything_hidden_leaves_the_student_out(maps):
    student, teacher = maps
    loss = make(spatial_ratio=1.0, channel_ratio=1.0)
    value = loss(student, teacher)
    value.backward()
    assert torch.count_nonzero(student.grad) == 0
    torch.testing.assert_close(value, loss(torch.full_like(student, 1e3), teacher))


@pytest.mark.parametrize('branch', BRANCHES)
def test_hidden_places_and_channels_get_no_gradient(maps, branch):
    student = torch.randn(2, 8, 6, 5, dtype=torch.float64, requires_grad=True)  # no adapter between
    loss = make(student_channels=8, branches=branch, select='top')
    kept = attention_mask(maps[1], branch, 0.65, select='top')
    loss(student, maps[1]).backward()
    gradient = student.grad.abs()
    assert torch.count_nonzero(gradient.masked_fill(kept, 0)) == 0
    assert (gradient.sum(1 if branch == 'spatial' else (2, 3), keepdim=True)[kept] > 0).all()


def test_hidden_nan_stays_hidden(maps):
    student = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    loss = make(student_channels=8, branches='spatial', select='top')
    kept = attention_mask(maps[1], 'spatial', 0.65, select='top')
    poisoned = student.masked_fill(~kept, float('nan')).requires_grad_()
    value = loss(poisoned, maps[1])
    torch.testing.assert_close(value, loss(student, maps[1]))
    value.backward()
    assert torch.isfinite(poisoned.grad).all()


def test_the_fusion_starts_even_and_stays_a_share(maps):
    loss = make()
    loss(*maps).backward()
    assert loss.stats['a_s'] == 0.5
    assert loss.fusion.grad.abs().sum() > 0 and loss.fusion.grad.sum().abs() < 1e-9
    with torch.no_grad():
        loss.fusion.copy_(torch.tensor([30.0, -20.0]))
    loss(*maps)
    assert loss.stats['a_s'] == 1


def test_equal_branches_leave_the_fusion_where_it_is(maps):
    loss = make(spatial_ratio=0.0, channel_ratio=0.0)
    loss.generation['channel'].load_state_dict(loss.generation['spatial'].state_dict())
    loss(*maps).backward()
    assert loss.fusion.grad.abs().max() < 1e-9


@pytest.mark.parametrize(('channels', 'align'), [((8, 8), 0), ((4, 8), 4 * 8 + 8)])
def test_parameters(channels, align):
    def count(**kwargs):
        loss = make(student_channels=channels[0], teacher_channels=channels[1], **kwargs)
        return sum(p.numel() for p in loss.parameters())

    block = 2 * (9 * 8 * 8 + 8)
    assert count() == 2 * block + 2 + align
    assert count(branches='spatial') == count(branches='channel') == block + align


def test_scale_and_sign(maps):
    student, teacher = maps
    value = make(select='top')(student, teacher)
    assert value > 0
    torch.testing.assert_close(make(select='top', loss_weight=3.0)(student, teacher), 3 * value)
    twice = make(select='top')(student.repeat(2, 1, 1, 1), teacher.repeat(2, 1, 1, 1))
    torch.testing.assert_close(twice, value)


def test_gradients_reach_the_student_and_never_the_teacher(maps):
    student, teacher = maps
    teacher.requires_grad_()
    loss = make()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0 and all(p.grad.abs().sum() > 0 for p in loss.parameters())


def test_gradcheck(maps):
    loss = make(select='top')
    w = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def call(x, w):
        return torch.func.functional_call(loss, dict(fusion=w), (x, maps[1]))

    assert torch.autograd.gradcheck(call, (maps[0], w))


def test_padding_is_left_out_of_the_error(maps):
    student, teacher = maps
    inputs = torch.zeros(2, 3, 48, 40)  # stride 8
    loss = make(select='top', pad_aware=True)
    whole = loss(student, teacher, [(48, 40), (48, 40)], inputs)
    torch.testing.assert_close(whole, make(select='top')(student, teacher))
    # The lower half of the first image is padding: no error can come from there.
    changed = teacher.clone()
    changed[0, :, 3:] *= -1  # the same attention
    part = loss(student, teacher, [(24, 40), (48, 40)], inputs)
    torch.testing.assert_close(loss(student, changed, [(24, 40), (48, 40)], inputs), part)
    sizes = [(25, 40), (48, 40)]
    assert not torch.isclose(loss(student, changed, sizes, inputs), loss(student, teacher, sizes, inputs))
    assert part < whole


def test_all_padding_is_a_loss_of_zero(maps):
    student, teacher = maps
    value = make(pad_aware=True)(student, teacher, [(0, 0), (0, 0)], torch.zeros(2, 3, 48, 40))
    value.backward()
    assert value == 0 and torch.count_nonzero(student.grad) == 0


@pytest.mark.parametrize('size', [(1, 1), (1, 3), (2, 2)])
def test_small_levels_are_finite(size):
    student, teacher = torch.randn(2, 4, *size, requires_grad=True), torch.zeros(2, 8, *size)
    loss = make().float()
    loss(student, teacher).backward()
    assert torch.isfinite(student.grad).all()


def test_half_precision_sums_in_float32(maps):
    """A map of large values: its squared error overflows float16."""
    loss = make(select='top').float()
    student, teacher = maps[0].detach().float(), 300 * maps[1].float()
    exact = loss(student, teacher)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast('cpu', dtype=dtype):
            value = loss(student.to(dtype), teacher.to(dtype))
        assert value.dtype == torch.float32 and torch.isfinite(value)
        torch.testing.assert_close(value, exact, rtol=0.02, atol=0)


def test_attention_is_the_teachers(maps):
    """The student's own map decides nothing: what is hidden stays hidden however it is scaled."""
    student, teacher = maps
    loss = make(select='top', branches='spatial')
    kept = attention_mask(teacher, 'spatial', 0.65, select='top')
    for x in (student, 5 * student):
        rebuilt = loss.generation['spatial'](loss.align(x) * kept)
        torch.testing.assert_close(loss(x, teacher), (rebuilt - teacher).square().sum() / 2)


def test_wrong_options():
    with pytest.raises(
        ValueError, match="branches='all' is not known. Possible: 'both', 'spatial', 'channel'"
    ):
        make(branches='all')
    with pytest.raises(ValueError, match="DMKDLoss: select='best' is not known. Possible: 'sample', 'top'"):
        make(select='best')
    with pytest.raises(ValueError, match='spatial_ratio must be a number from 0 to 1. Got: 1.5'):
        make(spatial_ratio=1.5)
    with pytest.raises(ValueError, match='attention_mask: tau must be a number above 0. Got: 0'):
        attention_mask(torch.zeros(1, 1, 2, 2), tau=0)


def test_wrong_maps(maps):
    student, teacher = maps
    with pytest.raises(
        ValueError, match='must be of one size: tap levels of one stride. Got: feat_S .2, 4, 6'
    ):
        make()(student, teacher[:, :, 1:])
    with pytest.raises(ValueError, match='feat_T has 7 channels, expected 8'):
        make()(student, teacher[:, 1:])
    with pytest.raises(ValueError, match='same batch size'):
        make()(student[:1], teacher)
    with pytest.raises(ValueError, match='pad_aware=True needs img_shape and inputs'):
        make(pad_aware=True)(student, teacher)
