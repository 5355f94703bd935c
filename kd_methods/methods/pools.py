"""Frozen pools: from a feature map to one vector an image, by a projection or by a pretrained attention pool.

Their weights are buffers that are in no checkpoint: no optimizer, average or process can change them, and
    they are made
or read again when the network is built.
"""

import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.networks.checkpoint import extract_state_dict, safe_load

ATTENTION_KEYS = (
    'positional_embedding',
    *(f'{name}_proj.{part}' for name in 'qkvc' for part in ('weight', 'bias')),
)


POOLS = ('gap', 'attention', None)


def build_pool(
    pool: str | None,
    in_channels: int,
    file: str | None = None,
    out_channels: int | None = None,
    heads: int | None = None,
    seed: int = 0,
    where: str = 'pool',
) -> 'OrthogonalPool | AttentionPool | None':
    """Build a pool by its name, ``'gap'``, ``'attention'`` or None, and refuse options that it does not take.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: ``'attention'`` without a file, or with one that does not fit; an option that this pool
            does not take.
    """
    given = dict(pool_file=file, pool_channels=out_channels, pool_heads=heads)
    taken = dict(attention=given, gap=('pool_channels',)).get(pool, ())
    unused = {name: value for name, value in given.items() if value is not None and name not in taken}
    if unused:
        raise ValueError(
            f'{where}: pool={pool!r} does not take {", ".join(f"{k}={v!r}" for k, v in unused.items())}. '
            "pool_file and pool_heads go with pool='attention'"
        )
    for name, value in (('pool_channels', out_channels), ('pool_heads', heads)):
        if value is not None and not (isinstance(value, int) and value > 0):
            raise ValueError(f'{where}: {name} must be a whole number of 1 or more. Got: {value!r}')
    if pool != 'attention':
        return OrthogonalPool(in_channels, out_channels or 512, seed) if pool == 'gap' else None
    if file is None:
        raise ValueError(
            f"{where}: pool='attention' needs pool_file, a checkpoint with the attention pool of a CLIP "
            "ResNet of the teacher's width. A pool of random weights would teach noise; without a file "
            "take pool='gap'"
        )
    built = AttentionPool(file, in_channels, heads, f'{where}.pool_file')
    if out_channels not in (None, built.out_channels):
        raise ValueError(
            f'{where}: pool_channels={out_channels}, but the attention pool of {file} gives '
            f'{built.out_channels}. Leave pool_channels out'
        )
    return built


class OrthogonalPool(nn.Module):
    """Global average pool and a fixed random projection with orthonormal rows (or columns, to more channels).

    Args:
        in_channels (int): Channels of the map.
        out_channels (int): Length of the vector. Defaults to 512.
        seed (int): Of the projection; the global generator is left alone. Defaults to 0.

    Shape:
        - input: (N, C, H, W); output: (N, out_channels).
    """

    def __init__(self, in_channels: int, out_channels: int = 512, seed: int = 0) -> None:
        super().__init__()
        weight = torch.empty(out_channels, in_channels)
        nn.init.orthogonal_(weight, generator=torch.Generator().manual_seed(seed))
        self.register_buffer('weight', weight, persistent=False)
        self.in_channels, self.out_channels = in_channels, out_channels

    def forward(self, feature: Tensor) -> Tensor:
        return F.linear(feature.mean((2, 3)), self.weight.to(feature.dtype))


class AttentionPool(nn.Module):
    """The attention pool of CLIP's ResNets, with weights from a file.

    The mean of all positions asks, in one multi-head attention over all positions and itself; the answer is
    projected. The position embedding is resized bilinearly to the map's grid. Only one query is asked, so
    keys and values are never formed: the query is taken through the key's matrix, and the weighted mean
    through the value's.

    Radford et al. Learning transferable visual models from natural language supervision. ICML 2021, arXiv
    2103.00020.

    Args:
        file (str | Path): Checkpoint with the pool's tensors under CLIP's names (``positional_embedding``,
            ``q_proj.weight``, ...), with any prefix up to ``attnpool.``; a whole model may be in it.
        in_channels (int, optional): Channels of the map, which the file must fit. Defaults to None: the
            file's.
        num_heads (int, optional): Heads. Defaults to None: one for 64 channels, as in CLIP.
        key (str): Config key that named the file, for messages. Defaults to 'pool_file'.

    Shape:
        - input: (N, C, H, W); output: (N, out_channels), as many as the file says.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file cannot be read, has no attention pool or one of another width.
    """

    def __init__(
        self,
        file: str | Path,
        in_channels: int | None = None,
        num_heads: int | None = None,
        key: str = 'pool_file',
    ) -> None:
        super().__init__()
        weights = read_attention_pool(file, in_channels, key)
        for name, value in weights.items():
            self.register_buffer(name.replace('.', '_'), value, persistent=False)
        self.out_channels, self.in_channels = weights['c_proj.weight'].shape
        self.num_heads = num_heads or max(self.in_channels // 64, 1)
        if self.in_channels % self.num_heads:
            raise ValueError(
                f'{key}: the pool of {file} has {self.in_channels} channels, which {self.num_heads} heads '
                'do not divide. Set the number of heads that it was trained with.'
            )

    def forward(self, feature: Tensor) -> Tensor:
        n, c, h, w = feature.shape
        position = self._positions(h, w).to(feature.dtype)
        tokens = feature.flatten(2)  # (N, C, L)
        mean = tokens.mean(2, keepdim=True)
        tokens = torch.cat([mean, tokens], 2) + position

        def heads(name: str) -> Tensor:
            return getattr(self, name).to(feature.dtype).view(self.num_heads, c // self.num_heads, -1)

        query = F.linear(
            tokens[:, :, 0], self.q_proj_weight.to(feature.dtype), self.q_proj_bias.to(feature.dtype)
        )
        query = query.view(n, self.num_heads, -1) * (c // self.num_heads) ** -0.5
        # The key's bias adds the same to all scores of a query, so it has no effect; the attention sums to 1,
        # so the value's bias comes through as it is.
        scores = torch.einsum('nhd,hdc->nhc', query, heads('k_proj_weight')) @ tokens
        answer = scores.softmax(2) @ tokens.transpose(1, 2)
        answer = torch.einsum('nhc,hdc->nhd', answer, heads('v_proj_weight')) + heads('v_proj_bias').squeeze(
            2
        )
        return F.linear(
            answer.flatten(1), self.c_proj_weight.to(feature.dtype), self.c_proj_bias.to(feature.dtype)
        )

    def _positions(self, h: int, w: int) -> Tensor:
        """Position embedding (C, 1 + h w): that of the mean, then that of the grid."""
        embedding = self.positional_embedding
        side = round((len(embedding) - 1) ** 0.5)
        grid = embedding[1:].T.reshape(1, -1, side, side)
        if (h, w) != (side, side):
            grid = F.interpolate(grid, size=(h, w), mode='bilinear', align_corners=False)
        return torch.cat([embedding[:1].T, grid[0].flatten(1)], 1)


def read_attention_pool(
    file: str | Path, in_channels: int | None = None, key: str = 'pool_file'
) -> dict[str, Tensor]:
    """Read the tensors of an attention pool, float32, under the names of :data:`ATTENTION_KEYS`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It cannot be read, has no attention pool, one that does not fit together, or one of
            another width.
    """
    advice = 'Give a checkpoint of plain tensors with the attention pool of a CLIP ResNet.'
    if _is_torchscript(file):
        raise ValueError(
            f"{key}: {file} is a TorchScript archive, CLIP's own form, which holds code. Write its pool to "
            "a plain file first: state = torch.jit.load(FILE, 'cpu').state_dict(); torch.save({k: v for "
            "k, v in state.items() if 'attnpool.' in k}, OUT)"
        )
    state = {
        name: value
        for name, value in extract_state_dict(safe_load(file, key=key, advice=advice)).items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    first = ATTENTION_KEYS[0]
    prefixes = [k.removesuffix(first) for k in state if ('.' + k).endswith('.' + first)]
    prefixes = [prefix for prefix in prefixes if all(prefix + name in state for name in ATTENTION_KEYS)]
    if len(prefixes) != 1:
        what = f'{len(prefixes)} attention pools, under {prefixes}' if prefixes else 'no attention pool'
        raise ValueError(
            f'{key}: {file} has {what}; expected one, with the keys {", ".join(ATTENTION_KEYS)} under any '
            'prefix, '
            f"as CLIP's ResNets have it. The file has {len(state)} tensors: {', '.join(sorted(state)[:5])}, "
            '...'
        )
    weights = {name: state[prefixes[0] + name].detach().float() for name in ATTENTION_KEYS}
    _check_shapes({name: tuple(value.shape) for name, value in weights.items()}, file, key)
    channels = weights[first].shape[1]
    if in_channels not in (None, channels):
        raise ValueError(
            f"{key}: the attention pool of {file} takes {channels} channels, but the teacher's map has "
            f'{in_channels}. Take a pool that was trained on such a map, tap another place of the teacher, '
            "or pool='gap'."
        )
    return weights


def _check_shapes(shapes: dict[str, tuple[int, ...]], file: str | Path, key: str) -> None:
    """Raise unless the tensors are those of one pool: 1 + n x n positions, C channels, any number of outputs."""
    first = ATTENTION_KEYS[0]
    positions, channels = (*shapes[first], 0, 0)[:2]
    out = (*shapes['c_proj.weight'], 0)[0]
    side = max(round(max(positions - 1, 0) ** 0.5), 1)
    fits = {name: (channels, channels) if name.endswith('weight') else (channels,) for name in ATTENTION_KEYS}
    fits.update({first: (side * side + 1, channels), 'c_proj.weight': (out, channels), 'c_proj.bias': (out,)})
    wrong = [
        f'{name} {shapes[name]} instead of {fits[name]}'
        for name in ATTENTION_KEYS
        if shapes[name] != fits[name]
    ]
    if wrong:
        raise ValueError(f'{key}: the attention pool of {file} does not fit together: {", ".join(wrong)}.')


def _is_torchscript(file: str | Path) -> bool:
    path = Path(file).expanduser()
    if not zipfile.is_zipfile(path):  # nor is what does not exist
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith('/constants.pkl') for name in archive.namelist())
