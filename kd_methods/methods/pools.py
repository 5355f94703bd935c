"""Frozen pools: from a feature map to one vector an image, by a projection or by a pretrained attention pool.

Their weights are buffers in no checkpoint, which nothing changes: a network that is built gets them again.
"""

from os import PathLike
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_methods.networks.checkpoint import extract_state_dict, log_choice, safe_load
from kd_methods.ops.grids import resize_map
from kd_methods.utils.text import first_few

Pool = Literal['gap', 'attention'] | None
PROJECTIONS = tuple(f'{name}_proj.{part}' for name in 'qkvc' for part in ('weight', 'bias'))
ATTENTION_KEYS = ('positional_embedding', *PROJECTIONS)


class OrthogonalPool(nn.Module):
    """Global average pool and a fixed random projection with orthonormal rows (or columns, to more channels).

    ``seed`` is that of the projection; the global generator is left alone.

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
        """The projected mean of each image."""
        return F.linear(feature.mean((2, 3)), self.weight.to(feature.dtype))


class AttentionPool(nn.Module):
    """The attention pool of CLIP's ResNets, with weights from a file.

    The mean of all positions asks, in one multi-head attention over all positions and itself; the answer is
    projected. The position embedding is resized bilinearly to the map's grid. With one query, keys and values
    are never formed: it passes the key's matrix, and the weighted mean the value's.

    Radford et al. Learning transferable visual models from natural language supervision. arXiv 2103.00020.

    Args:
        file (str | PathLike): Checkpoint with the tensors :data:`ATTENTION_KEYS`, under any prefix.
        in_channels (int): Channels of the map, which the tensors must fit.
        num_heads (int, optional): Heads. Defaults to None: one for 64 channels, as in CLIP.
        key (str): Config key that named the file, for messages. Defaults to 'pool_file'.

    Shape:
        - input: (N, C, H, W); output: (N, out_channels), as many as the file says.
    """

    def __init__(
        self, file: str | PathLike, in_channels: int, num_heads: int | None = None, key: str = 'pool_file'
    ) -> None:
        super().__init__()
        weights = _read_attention_pool(file, in_channels, key)
        for name, value in weights.items():
            self.register_buffer(name.replace('.', '_'), value, persistent=False)
        self.out_channels, self.in_channels = weights['c_proj.weight'].shape
        self.num_heads = num_heads or max(in_channels // 64, 1)
        if in_channels % self.num_heads:
            what = f'{in_channels} channels, which {self.num_heads} heads do not divide'
            raise ValueError(f'{key}: the pool of {file} has {what}. Set the number of its training.')

    def forward(self, feature: Tensor) -> Tensor:
        """The answer to the mean of each image."""
        n, c, h, w = feature.shape
        size = c // self.num_heads
        weight = {name: value.to(feature.dtype) for name, value in self.named_buffers()}
        # The mean, then the L = h w positions of the map, each with its embedding: (N, C, 1 + L).
        embedding = self._positions(h, w).to(feature.dtype)
        tokens = feature.flatten(2)
        tokens = torch.cat([tokens.mean(2, keepdim=True), tokens], 2) + embedding
        query = F.linear(tokens[:, :, 0], weight['q_proj_weight'], weight['q_proj_bias'])
        query = query.view(n, self.num_heads, -1) * size**-0.5
        # Scores (q' K) x of the tokens, (N, heads, 1 + L). The key's bias adds the same to all: no effect.
        key, value = (weight[f'{name}_proj_weight'].view(self.num_heads, size, -1) for name in 'kv')
        scores = torch.einsum('nhd,hdc->nhc', query, key) @ tokens
        # V of the weighted mean, (N, heads, size). The attention sums to 1, so the bias stays as it is.
        answer = torch.einsum('nhc,hdc->nhd', scores.softmax(2) @ tokens.transpose(1, 2), value)
        answer = answer + weight['v_proj_bias'].view(self.num_heads, size)
        return F.linear(answer.flatten(1), weight['c_proj_weight'], weight['c_proj_bias'])

    def _positions(self, h: int, w: int) -> Tensor:
        """Position embedding (C, 1 + h w): of the mean, then of the grid."""
        embedding = self.positional_embedding
        side = round((len(embedding) - 1) ** 0.5)
        grid = embedding[1:].T.reshape(1, -1, side, side)
        return torch.cat([embedding[:1].T, resize_map(grid, (h, w))[0].flatten(1)], 1)


def build_pool(
    pool: Pool,
    in_channels: int,
    file: str | PathLike | None = None,
    out_channels: int | None = None,
    heads: int | None = None,
    seed: int = 0,
) -> OrthogonalPool | AttentionPool | None:
    """Build the pool of VLFDLoss by its name, and refuse options that it does not take."""
    given = dict(pool_file=file, pool_channels=out_channels, pool_heads=heads)
    taken = dict(attention=('pool_file', 'pool_heads'), gap=('pool_channels',)).get(pool, ())
    unused = [f'{name}={value!r}' for name, value in given.items() if value is not None and name not in taken]
    if unused:
        takes = f'It takes {", ".join(taken) or "none of them"}'
        raise ValueError(f'VLFDLoss: pool={pool!r} does not take {", ".join(unused)}. {takes}')
    if pool != 'attention':
        return OrthogonalPool(in_channels, out_channels or 512, seed) if pool == 'gap' else None
    if file is None:
        what = "a checkpoint with the attention pool of a CLIP ResNet of the teacher's width"
        instead = "Without one take pool='gap': random weights would teach noise"
        raise ValueError(f"VLFDLoss: pool='attention' needs pool_file, {what}. {instead}")
    return AttentionPool(file, in_channels, heads, 'VLFDLoss.pool_file')


def _read_attention_pool(file: str | PathLike, channels: int, key: str) -> dict[str, Tensor]:
    """The tensors of a pool for a map of so many channels, float32, under the names of ``ATTENTION_KEYS``."""
    advice = 'Give a checkpoint of plain tensors with the attention pool of a CLIP ResNet.'
    state = extract_state_dict(safe_load(file, key=key, advice=advice))
    log_choice(state, file)
    first = ATTENTION_KEYS[0]
    found = [k.removesuffix(first) for k in map(str, state) if k.endswith(first)]
    found = [p for p in found if all(isinstance(state.get(p + name), Tensor) for name in ATTENTION_KEYS)]
    if len(found) != 1:
        what = f'of {", ".join(ATTENTION_KEYS)} under any prefix, and found {len(found)}'
        has = first_few(sorted(map(str, state)))
        raise ValueError(f'{key}: expected one attention pool in {file}, {what}. The file has {has}')
    weights = {name: state[found[0] + name].detach().float() for name in ATTENTION_KEYS}
    # 1 + side^2 positions of C channels; q, k and v from C to C; c from C to any number.
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    side = round(max(weights[first].numel() // channels - 1, 1) ** 0.5)
    out = shapes['c_proj.weight'][:1]
    fits = {name: (channels,) * (1 + name.endswith('weight')) for name in PROJECTIONS}
    fits.update({first: (1 + side**2, channels), 'c_proj.weight': (*out, channels), 'c_proj.bias': out})
    wrong = [f'{name} {shapes[name]} instead of {fits[name]}' for name in fits if shapes[name] != fits[name]]
    if wrong:
        what = f"does not fit the teacher's map of {channels} channels: {', '.join(wrong)}"
        cure = "Take a pool of such a map, tap another place of the teacher, or pool='gap'"
        raise ValueError(f'{key}: the attention pool of {file} {what}. {cure}')
    return weights
