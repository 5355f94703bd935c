import pytest
import torch
import torch.nn.functional as F
from toys import attention_pool_state

from kd_methods.methods.pools import ATTENTION_KEYS, AttentionPool, OrthogonalPool, build_pool

CHANNELS, OUT, SIDE = 128, 24, 3


def pool_state(prefix=''):
    state = attention_pool_state(CHANNELS, OUT, SIDE, prefix)
    assert sorted(state) == sorted(prefix + name for name in ATTENTION_KEYS)
    return state


@pytest.fixture
def saved(tmp_path):
    """`saved(content)` -> a file of it."""

    def save(content, name='pool.pth'):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def feature(size=(SIDE, SIDE), n=2, channels=CHANNELS):
    return torch.randn(n, channels, *size, generator=torch.Generator().manual_seed(1))


def reference(state, x, heads):
    """The pool by PyTorch's own attention, all queries asked."""
    n, c, h, w = x.shape
    tokens = x.flatten(2).permute(2, 0, 1)
    grid = state['positional_embedding'][1:].T.reshape(1, c, SIDE, SIDE)
    grid = F.interpolate(grid, size=(h, w), mode='bilinear', align_corners=False)[0].flatten(1).T
    position = torch.cat([state['positional_embedding'][:1], grid])
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + position[:, None]
    biases = torch.cat([state[f'{k}_proj.bias'] for k in 'qkv'])
    project = state['c_proj.weight'], state['c_proj.bias']
    weights = {f'{k}_proj_weight': state[f'{k}_proj.weight'] for k in 'qkv'}
    options = dict(training=False, need_weights=False, use_separate_proj_weight=True, **weights)
    out, _ = F.multi_head_attention_forward(
        *[tokens] * 3, c, heads, None, biases, None, None, False, 0.0, *project, **options
    )
    return out[0]


@pytest.mark.parametrize('size', [(SIDE, SIDE), (5, 4), (1, 1)])
@pytest.mark.parametrize('heads', [None, 4])
def test_attention_pool_is_multi_head_attention_of_the_mean(saved, size, heads):
    state = pool_state()
    pool = AttentionPool(saved(state), CHANNELS, heads)
    assert pool.num_heads == (heads or 2) and pool.out_channels == OUT
    x = feature(size)
    torch.testing.assert_close(pool(x), reference(state, x, pool.num_heads), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'wrap',
    [lambda s: s, lambda s: dict(state_dict=s), lambda s: dict(model=s, meta=dict(epoch=1))],
    ids=['bare', 'state_dict', 'model'],
)
@pytest.mark.parametrize('prefix', ['', 'attnpool.', 'visual.attnpool.', 'module.backbone.attnpool.'])
def test_it_is_found_under_any_prefix(saved, wrap, prefix):
    other = 'module.backbone.conv.weight' if 'module' in prefix else 'conv.weight'
    state = {**pool_state(prefix=prefix), other: torch.zeros(1), 3: torch.zeros(1), 'list': [1]}
    pool = AttentionPool(saved(wrap(state)), CHANNELS)
    for name, value in pool_state().items():
        assert getattr(pool, name.replace('.', '_')).equal(value)


def test_half_precision_files_are_read_as_float32(saved):
    pool = AttentionPool(saved({name: value.half() for name, value in pool_state().items()}), CHANNELS)
    assert {value.dtype for value in pool.buffers()} == {torch.float32}


def test_pools_are_frozen_and_in_no_checkpoint(saved):
    for pool in (AttentionPool(saved(pool_state()), CHANNELS), OrthogonalPool(CHANNELS, OUT)):
        assert not list(pool.parameters()) and not pool.state_dict()
        assert pool.double()(feature().double()).dtype == torch.float64


class Anything:
    """An object that is no tensor."""


def test_a_file_that_holds_no_pool(saved, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Loss.pool_file: no file '.*gone.pth'.* Give a checkpoint of"
    ):
        AttentionPool(tmp_path / 'gone.pth', CHANNELS, key='Loss.pool_file')
    (tmp_path / 'text.pth').write_text('hello')
    with pytest.raises(ValueError, match='text.pth is no readable checkpoint'):
        AttentionPool(tmp_path / 'text.pth', CHANNELS)
    with pytest.raises(ValueError, match='objects that could run code .*Give a checkpoint of plain tensors'):
        AttentionPool(saved(dict(state_dict=pool_state(), extra=Anything())), CHANNELS)
    without = pool_state()
    del without['k_proj.bias']
    no_tensor = {**pool_state(), 'q_proj.bias': [1.0]}
    for state in ({'conv.weight': torch.zeros(1)}, without, no_tensor):
        with pytest.raises(ValueError, match='expected one attention pool .*found 0. The file has [ck]'):
            AttentionPool(saved(state), CHANNELS)
    with pytest.raises(
        ValueError, match='of positional_embedding, q_proj.weight, .*found 2. The file has a.c_proj'
    ):
        AttentionPool(saved({**pool_state(prefix='a.'), **pool_state(prefix='b.')}), CHANNELS)


@pytest.mark.parametrize(
    'name, shape, text',
    [
        ('v_proj.weight', (CHANNELS, 7), r'v_proj.weight \(128, 7\) instead of \(128, 128\)'),
        ('positional_embedding', (9, CHANNELS), r'positional_embedding \(9, 128\) instead of \(10, 128\)'),
        ('positional_embedding', (), r'positional_embedding \(\) instead of \(2, 128\)'),
        ('c_proj.bias', (3,), r'c_proj.bias \(3,\) instead of \(24,\)'),
        ('c_proj.weight', (), r'c_proj.weight \(\) instead of \(128,\), c_proj.bias'),
    ],
)
def test_a_pool_that_does_not_fit(saved, name, shape, text):
    with pytest.raises(ValueError, match=f"does not fit the teacher's map of 128 channels: {text}"):
        AttentionPool(saved({**pool_state(), name: torch.zeros(shape)}), CHANNELS)


def test_a_pool_of_another_width(saved):
    with pytest.raises(
        ValueError, match="map of 64 channels: .*tap another place of the teacher, or pool='gap'"
    ):
        AttentionPool(saved(pool_state()), 64)
    with pytest.raises(ValueError, match='128 channels, which 3 heads do not divide'):
        AttentionPool(saved(pool_state()), CHANNELS, num_heads=3)


@pytest.mark.parametrize(
    'options, text',
    [
        (dict(pool='attention'), "pool='attention' needs pool_file, .* take pool='gap'"),
        (dict(pool='attention', out_channels=8), 'pool_channels=8. It takes pool_file, pool_heads'),
        (dict(pool='gap', file='pool.pth'), "pool='gap' does not take pool_file='pool.pth'"),
        (dict(pool='gap', heads=4), "pool='gap' does not take pool_heads=4. It takes pool_channels"),
        (dict(pool=None, out_channels=4), 'pool=None does not take pool_channels=4. It takes none of them'),
    ],
    ids=str,
)
def test_options_of_another_pool(options, text):
    with pytest.raises(ValueError, match=f'VLFDLoss: .*{text}'):
        build_pool(in_channels=8, **options)


@pytest.mark.parametrize('channels, out', [(40, 16), (16, 40)])
def test_the_projection_is_orthogonal_and_seeded(channels, out):
    state = torch.random.get_rng_state()
    weight = OrthogonalPool(channels, out, seed=3).weight
    assert torch.random.get_rng_state().equal(state)
    small = weight @ weight.T if out < channels else weight.T @ weight
    torch.testing.assert_close(small, torch.eye(min(channels, out)), rtol=0, atol=1e-5)
    assert OrthogonalPool(channels, out, seed=3).weight.equal(weight)
    assert not OrthogonalPool(channels, out, seed=4).weight.equal(weight)


def test_orthogonal_pool_is_the_projected_mean():
    x = feature()
    pool = OrthogonalPool(CHANNELS, OUT)
    torch.testing.assert_close(pool(x), x.flatten(2).mean(2) @ pool.weight.T)
