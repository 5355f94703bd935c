import pytest
import torch
import torch.nn.functional as F
from toys import attention_pool_state

from kd_methods.methods.pools import (
    ATTENTION_KEYS,
    AttentionPool,
    OrthogonalPool,
    build_pool,
    read_attention_pool,
)

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
    out, _ = F.multi_head_attention_forward(
        tokens,
        tokens,
        tokens,
        c,
        heads,
        None,
        torch.cat([state[f'{k}_proj.bias'] for k in 'qkv']),
        None,
        None,
        False,
        0.0,
        state['c_proj.weight'],
        state['c_proj.bias'],
        training=False,
        need_weights=False,
        use_separate_proj_weight=True,
        **{f'{k}_proj_weight': state[f'{k}_proj.weight'] for k in 'qkv'},
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
    state = {
        **pool_state(prefix=prefix),
        'module.backbone.conv.weight' if 'module' in prefix else 'conv.weight': torch.zeros(1),
    }
    weights = read_attention_pool(saved(wrap(state)))
    for name, value in pool_state().items():
        assert weights[name].equal(value)


def test_half_precision_files_are_read_as_float32(saved):
    state = {name: value.half() for name, value in pool_state().items()}
    assert {v.dtype for v in read_attention_pool(saved(state)).values()} == {torch.float32}


def test_pools_are_frozen_and_in_no_checkpoint(saved):
    for pool in (AttentionPool(saved(pool_state())), OrthogonalPool(CHANNELS, OUT)):
        assert not list(pool.parameters()) and not pool.state_dict()
        assert pool.double()(feature().double()).dtype == torch.float64


def test_a_missing_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Loss.pool_file: no file '.*gone.pth'.* Give a checkpoint of plain tensors"
    ):
        AttentionPool(tmp_path / 'gone.pth', key='Loss.pool_file')


def test_a_pool_of_another_width(saved):
    with pytest.raises(ValueError, match="takes 128 channels, but the teacher's map has 2048. Take a pool"):
        AttentionPool(saved(pool_state()), 2048)


def test_a_file_without_pool_or_with_two(saved):
    with pytest.raises(
        ValueError,
        match=r'no attention pool; expected one, with the keys .*The file has 1 tensors: conv.weight',
    ):
        read_attention_pool(saved({'conv.weight': torch.zeros(1)}))
    partial = pool_state()
    del partial['k_proj.bias']
    with pytest.raises(ValueError, match='no attention pool'):
        read_attention_pool(saved(partial))
    with pytest.raises(ValueError, match=r"2 attention pools, under \['a.', 'b.'\]"):
        read_attention_pool(saved({**pool_state(prefix='a.'), **pool_state(prefix='b.')}))


@pytest.mark.parametrize(
    'name, shape, text',
    [
        ('v_proj.weight', (CHANNELS, 7), r'v_proj.weight \(128, 7\) instead of \(128, 128\)'),
        ('positional_embedding', (9, CHANNELS), r'positional_embedding \(9, 128\) instead of \(10, 128\)'),
        ('c_proj.bias', (3,), r'c_proj.bias \(3,\) instead of \(24,\)'),
        ('c_proj.bias', (), r'c_proj.bias \(\) instead of \(24,\)'),
        ('positional_embedding', (1, CHANNELS), r'positional_embedding \(1, 128\) instead of \(2, 128\)'),
        ('positional_embedding', (0,), r'positional_embedding \(0,\) instead of '),
    ],
)
def test_a_pool_that_does_not_fit_together(saved, name, shape, text):
    with pytest.raises(ValueError, match=f'does not fit together: {text}'):
        read_attention_pool(saved({**pool_state(), name: torch.zeros(shape)}))


def test_heads_that_do_not_divide(saved):
    with pytest.raises(ValueError, match='128 channels, which 3 heads do not divide'):
        AttentionPool(saved(pool_state()), num_heads=3)


def test_clips_own_archive_gets_its_cure(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / 'clip.pt')
    with pytest.raises(ValueError, match=r"a TorchScript archive, CLIP's own form.*torch.jit.load.*attnpool"):
        read_attention_pool(tmp_path / 'clip.pt')


class Anything:
    """An object that is no tensor."""


def test_what_is_no_checkpoint(tmp_path, saved):
    (tmp_path / 'text.pth').write_text('hello')
    with pytest.raises(ValueError, match='text.pth is no readable checkpoint'):
        read_attention_pool(tmp_path / 'text.pth')
    whole = saved(pool_state())
    (tmp_path / 'cut.pth').write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(ValueError, match='cut.pth is no readable checkpoint .truncated or damaged'):
        read_attention_pool(tmp_path / 'cut.pth')
    with pytest.raises(ValueError, match='holds a list'):
        read_attention_pool(saved([1]))
    with pytest.raises(
        ValueError, match='objects that could run code .*Give a checkpoint of plain tensors'
    ) as error:
        read_attention_pool(saved(dict(state_dict=pool_state(), extra=Anything())))
    assert 'trusted' not in str(error.value).split('Give a checkpoint')[1]


def test_what_is_no_tensor_is_passed_over(saved):
    weights = read_attention_pool(saved({**pool_state(), 3: torch.zeros(1), 'list': [1]}))
    assert set(weights) == set(ATTENTION_KEYS)
    with pytest.raises(ValueError, match='no attention pool.*The file has 0 tensors'):
        read_attention_pool(saved({3: torch.zeros(1)}))
    with pytest.raises(ValueError, match='no attention pool'):
        read_attention_pool(saved({**pool_state(), 'q_proj.bias': [1.0]}))


@pytest.mark.parametrize(
    'options, text',
    [
        (dict(pool='attention'), "pool='attention' needs pool_file, .* take pool='gap'"),
        (dict(pool='gap', file='pool.pth'), "pool='gap' does not take pool_file='pool.pth'"),
        (dict(pool='gap', heads=4), "pool='gap' does not take pool_heads=4"),
        (dict(pool=None, out_channels=4), 'pool=None does not take pool_channels=4'),
        (dict(pool='gap', out_channels=0), 'pool_channels must be a whole number of 1 or more. Got: 0'),
        (dict(pool='attention', heads=-2), 'pool_heads must be a whole number of 1 or more. Got: -2'),
    ],
    ids=str,
)
def test_options_of_another_pool(options, text):
    with pytest.raises(ValueError, match=f'Loss: {text}'):
        build_pool(in_channels=8, where='Loss', **options)


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
