import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from toys import attention_pool_state

from kd_methods.methods.c2vkd import VLFDLoss, patch_loss

TERMS = ('global', 'patch', 'linguistic')


def maps(n=2, c=6, size=(4, 4), seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    S, T = torch.randn(2, n, c, *size, generator=g, dtype=torch.float64).to(dtype)
    return S.requires_grad_(), T


def dense_patch(S, T, gram_scale='none'):
    """The definition, with the relations of all positions."""
    M = []
    for x in (S, T):
        rows = x.movedim(1, -1).flatten(0, 2)
        rows = rows / rows.norm(dim=1, keepdim=True)
        rows = rows - rows.mean(1, keepdim=True)
        M.append(rows @ rows.T / (1 if gram_scale == 'none' else x.shape[1] - 1))
    return (M[0] - M[1]).square().mean(), M[0]


def build(student=4, teacher=6, **options):
    torch.manual_seed(0)
    return VLFDLoss(student, teacher, **options).double()


@pytest.fixture
def pool_file(tmp_path):
    """`pool_file(channels, out)` -> a file with an attention pool."""

    def make(channels=64, out=20):
        torch.save(attention_pool_state(channels, out), tmp_path / 'pool.pth')
        return str(tmp_path / 'pool.pth')

    return make


# ---- patch term


@pytest.mark.parametrize('gram_scale', ['none', 'channel'])
@pytest.mark.parametrize('c, size', [(6, (4, 4)), (50, (4, 4)), (32, (4, 4))])
def test_patch_equals_the_dense_form_in_value_and_gradient(gram_scale, c, size):
    S, T = maps(c=c, size=size)
    got, (expected, _) = patch_loss(S, T, gram_scale), dense_patch(S, T, gram_scale)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, S), torch.autograd.grad(expected, S))


@pytest.mark.parametrize('c', [3, 20])
def test_patch_gradcheck(c):
    S, T = maps(n=1, c=c, size=(2, 3))
    torch.autograd.gradcheck(lambda x: patch_loss(x, T), S)


def test_patch_is_right_near_equality():
    S, T = maps(c=12, size=(8, 8))
    near = (T + 1e-4 * S.detach()).requires_grad_()
    got, expected = patch_loss(near.float(), T.float()).double(), dense_patch(near, T)[0]
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=0)


def test_patch_does_not_see_the_length_of_a_row():
    S, T = maps()
    scale = torch.rand(2, 1, 4, 4, dtype=torch.float64) + 0.1
    torch.testing.assert_close(patch_loss(S * scale, T / scale), patch_loss(S, T))


def test_relations_are_bounded():
    S, T = maps()
    M = dense_patch(S, T, 'channel')[1]
    assert M.abs().max() <= 1 / 5
    assert patch_loss(S, T, 'channel') <= (2 / 5) ** 2
    torch.testing.assert_close(patch_loss(S, T, 'channel'), patch_loss(S, T) / 25)


def test_zero_rows_are_finite_and_get_no_gradient():
    S, T = maps()
    S = S.detach().clone()
    S[:, :, 1] = 0
    S.requires_grad_()
    loss = patch_loss(S, T.masked_fill(torch.arange(4) == 2, 0))
    loss.backward()
    assert loss.isfinite() and S.grad.isfinite().all() and S.grad[:, :, 1].eq(0).all()


def test_one_image_has_its_own_relations_and_two_also_those_between_them():
    S, T = maps(n=2)
    single = torch.stack([patch_loss(S[i : i + 1], T[i : i + 1]) for i in range(2)])
    for i in range(2):
        torch.testing.assert_close(single[i], dense_patch(S[i : i + 1], T[i : i + 1])[0])
    assert not torch.isclose(single.mean(), patch_loss(S, T))
    twice = [x[:1].repeat(2, 1, 1, 1) for x in (S, T)]
    torch.testing.assert_close(patch_loss(*twice), single[0])


def test_patch_does_not_see_the_order_of_images_positions_and_channels():
    S, T = maps()
    for change in (lambda x: x.flip(0), lambda x: x.flip(2), lambda x: x[:, [3, 1, 0, 5, 4, 2]]):
        torch.testing.assert_close(patch_loss(change(S), change(T)), patch_loss(S, T))


@pytest.mark.parametrize(
    'shapes', [((2, 6, 2, 8), (2, 6, 4, 4)), ((2, 6, 4), (2, 6, 4)), ((1, 6, 4, 4), (2, 6, 4, 4))], ids=str
)
def test_patch_takes_one_shape(shapes):
    with pytest.raises(ValueError, match='feat_S and feat_T must be N x C x H x W, of one shape. Got: '):
        patch_loss(*map(torch.ones, shapes))


def test_patch_knows_its_scales():
    with pytest.raises(ValueError, match="gram_scale='image' is not known. Possible: 'none', 'channel'"):
        patch_loss(*maps(), 'image')


# ---- the loss


def reference(loss, S, T):
    """The three terms by their definitions."""
    adapted = F.conv2d(S, loss.adapter.weight)
    adapted = F.interpolate(adapted, size=T.shape[2:], mode='bilinear', align_corners=False)
    kl = [
        (p_T.softmax(1) * (p_T.log_softmax(1) - p_S.log_softmax(1))).sum(1).mean()
        for p_S, p_T in ((adapted, T), (loss.projection(S.mean((2, 3))), loss.pool(T)))
    ]
    return {'global': kl[0], 'patch': dense_patch(adapted, T)[0], 'linguistic': kl[1]}


def test_equals_its_terms():
    loss = build(pool_channels=9)
    S, _ = maps(c=4, size=(3, 3))
    _, T = maps(c=6, size=(5, 7))
    terms = reference(loss, S, T)
    expected = 0.1 * terms['global'] + 0.1 * terms['patch'] + 0.5 * terms['linguistic']
    torch.testing.assert_close(loss(S, T), expected)
    assert set(loss.stats) == set(TERMS)
    for name in TERMS:
        torch.testing.assert_close(loss.stats[name], terms[name].detach())
        assert not loss.stats[name].requires_grad


def test_published_form_has_the_divisors():
    loss = build(pool_channels=9)
    published = build(pool_channels=9, reduction='element', gram_scale='channel')
    published.load_state_dict(loss.state_dict())
    S, _ = maps(c=4)
    _, T = maps(c=6)
    loss(S, T), published(S, T)
    for name, divisor in (('global', 6), ('patch', 5**2), ('linguistic', 9)):
        torch.testing.assert_close(published.stats[name], loss.stats[name] / divisor)


@pytest.mark.parametrize('term', TERMS)
def test_each_term_alone(term):
    loss = build(**{f'{name}_weight': 2.0 if name == term else 0.0 for name in TERMS})
    S, _ = maps(c=4)
    _, T = maps(c=6)
    torch.testing.assert_close(loss(S, T), 2.0 * reference(loss, S, T)[term])
    assert set(loss.stats) == {term}


def test_global_is_zero_iff_maps_agree_up_to_a_constant_a_position():
    loss = build(6, 6, patch_weight=0, linguistic_weight=0)
    loss.adapter.weight.data = torch.eye(6, dtype=torch.float64).view(6, 6, 1, 1)
    _, T = maps()
    shifted = T + torch.randn(2, 1, 4, 4, dtype=torch.float64)
    assert loss(shifted, T).abs() < 1e-12
    shifted[0, 0, 0, 0] += 1.0
    assert loss(shifted, T) > 1e-6


def test_no_gradient_reaches_the_teacher():
    loss = build()
    S, _ = maps(c=4)
    T = maps(c=6)[1].requires_grad_()
    loss(S, T).backward()
    assert T.grad is None
    assert all(x.grad.ne(0).any() for x in (S, loss.adapter.weight, loss.projection.weight))


@pytest.mark.parametrize('pool', ['gap', 'attention'])
def test_the_frozen_pool_stands_still(pool, pool_file):
    loss = VLFDLoss(4, 64, pool=pool, pool_file=pool_file() if pool == 'attention' else None)
    before = {name: value.clone() for name, value in loss.pool.named_buffers()}
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0, weight_decay=0.1)
    S, T = torch.randn(2, 4, 3, 3), torch.randn(2, 64, 6, 6)
    first = loss(S, T)
    first.backward()
    optimizer.step()
    assert loss(S, T) != first
    assert before and all(value.equal(before[name]) for name, value in loss.pool.named_buffers())
    assert not any(name.startswith('pool') for name in loss.state_dict())


@pytest.mark.parametrize('pool', ['gap', 'attention'])
def test_a_pooled_constant_map_is_the_same_at_any_crop_size(pool, pool_file):
    file = pool_file() if pool == 'attention' else None
    if file:  # positions are a part of the pool; without them only the features are left
        state = torch.load(file)
        state['positional_embedding'].zero_()
        torch.save(state, file)
    loss = VLFDLoss(4, 64, global_weight=0, patch_weight=0, pool=pool, pool_file=file)
    S, T = torch.randn(2, 4, 1, 1), torch.randn(2, 64, 1, 1)
    values = [loss(S.expand(-1, -1, *size), T.expand(-1, -1, *size)) for size in ((2, 2), (5, 3), (1, 8))]
    torch.testing.assert_close(torch.stack(values), values[0].expand(3))


def test_the_attention_pool_gives_the_length(pool_file):
    loss = VLFDLoss(4, 64, pool='attention', pool_file=pool_file(out=20), pool_heads=4)
    assert loss.projection.out_features == 20 and loss.pool.num_heads == 4
    assert loss(torch.randn(2, 4, 3, 3), torch.randn(2, 64, 6, 6)).isfinite()


def test_without_pool_there_is_no_such_term():
    loss = build(pool=None)
    loss(maps(c=4)[0], maps(c=6)[1])
    assert set(loss.stats) == {'global', 'patch'} and not hasattr(loss, 'projection')


@pytest.mark.parametrize(
    'options',
    [
        dict(global_weight=0, patch_weight=0, linguistic_weight=0),
        dict(global_weight=0, patch_weight=0, pool=None),
    ],
    ids=str,
)
def test_without_any_term_it_never_runs(options):
    assert build(loss_weight=5.0, **options).loss_weight == 0


def test_extreme_half_precision_features_stay_finite():
    loss = VLFDLoss(4, 6)
    S = (1e3 * maps(c=4)[0].detach().sign()).half().requires_grad_()
    T = (-1e3 * maps(c=6)[1].sign()).half()
    with torch.autocast('cpu', torch.float16):
        value = loss(S, T)
    value.backward()
    assert value.isfinite() and value.dtype == torch.float32 and S.grad.isfinite().all()


@pytest.mark.parametrize('pool', ['gap', 'attention'])
def test_autocast_lowers_the_precision_of_the_adapter_alone(pool, pool_file):
    torch.manual_seed(0)
    loss = VLFDLoss(4, 64, pool=pool, pool_file=pool_file() if pool == 'attention' else None)
    S, T = torch.randn(2, 4, 3, 3), torch.randn(2, 64, 6, 6)
    loss(S, T)
    exact = dict(loss.stats)
    adapted = torch.randn(2, 64, 6, 6)
    patch = patch_loss(adapted, T)
    with torch.autocast('cpu', torch.bfloat16):
        loss(S, T)
        torch.testing.assert_close(loss.stats['linguistic'], exact['linguistic'])
        torch.testing.assert_close(patch_loss(adapted, T), patch)
    for name in ('global', 'patch'):  # the adapter's convolution is the network's precision
        torch.testing.assert_close(loss.stats[name], exact[name], rtol=0.02, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_a_module_in_half_precision(dtype):
    loss = VLFDLoss(4, 6).to(dtype)
    S, T = torch.randn(2, 4, 3, 3, dtype=dtype), torch.randn(2, 6, 3, 3, dtype=dtype)
    assert loss(S, T).dtype == torch.float32


@pytest.mark.parametrize('S', [(1, 4, 3, 3), (2, 5, 3, 3), (2, 4, 9)], ids=str)
def test_wrong_shapes_are_named(S):
    for shapes in ((S, (2, 6, 3, 3)), ((2, 4, 3, 3), (2, 4, 3, 3))):
        with pytest.raises(
            ValueError, match=r'VLFDLoss: feat_[ST] must be N x [46] x H x W, with one N for both'
        ):
            VLFDLoss(4, 6)(*map(torch.zeros, shapes))


def test_module_is_registered_scaled_and_copyable():
    cfg = dict(type='VLFDLoss', student_channels=4, teacher_channels=6)
    torch.manual_seed(0)
    module = MODELS.build(dict(cfg, loss_weight=3.0))
    torch.manual_seed(0)
    S, T = torch.randn(2, 4, 3, 3), torch.randn(2, 6, 3, 3)
    twin = copy.deepcopy(module)
    twin.loss_weight = 1.0
    torch.testing.assert_close(module(S, T), 3 * twin(S, T))


def test_mistakes_are_named(pool_file):
    with pytest.raises(ValueError, match="VLFDLoss: pool='attention' needs pool_file, .* take pool='gap'"):
        VLFDLoss(4, 6, pool='attention')
    with pytest.raises(FileNotFoundError, match="VLFDLoss.pool_file: no file '/nowhere/pool.pth'"):
        VLFDLoss(4, 6, pool='attention', pool_file='/nowhere/pool.pth')
    with pytest.raises(ValueError, match="pool='gap' does not take pool_file='pool.pth'"):
        VLFDLoss(4, 6, pool_file='pool.pth')
    with pytest.raises(ValueError, match="global_weight must be a number of 0 or more. Got: 'auto'"):
        VLFDLoss(4, 6, global_weight='auto')
    with pytest.raises(ValueError, match="pool='clip' is not known. Possible: 'gap', 'attention', None"):
        VLFDLoss(4, 6, pool='clip')
    with pytest.raises(ValueError, match="does not fit the teacher's map of 6 channels"):
        VLFDLoss(4, 6, pool='attention', pool_file=pool_file())
