"""States of all random number generators of a process, as tensors and plain Python values."""

import random

import numpy as np
import torch


def get_rng_state() -> dict:
    """The states of Python's, numpy's, torch's and every CUDA device's generator.

    Only tensors and plain values, so that a checkpoint with them can be read with
    ``weights_only=True``.
    """
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    state = dict(
        python=dict(version=version, words=torch.tensor(words, dtype=torch.int64), gauss=gauss),
        numpy=dict(
            keys=torch.from_numpy(keys.astype(np.int64)),
            position=int(position),
            has_gauss=int(has_gauss),
            cached=float(cached),
        ),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict) -> None:
    """Bring the generators back to what :func:`get_rng_state` returned, wherever its tensors are by
    now.

    CUDA devices beyond those that are here are left out, and so are those here of which nothing was
    stored.
    """
    python, arrays = state['python'], state['numpy']
    random.setstate((python['version'], tuple(python['words'].tolist()), python['gauss']))
    np.random.set_state(
        (
            'MT19937',
            arrays['keys'].cpu().numpy().astype(np.uint32),
            arrays['position'],
            arrays['has_gauss'],
            arrays['cached'],
        )
    )
    torch.set_rng_state(state['torch'].cpu())
    if torch.cuda.is_available():
        for device, cuda in zip(range(torch.cuda.device_count()), state.get('cuda', ())):
            torch.cuda.set_rng_state(cuda.cpu(), device)


def seed_all(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
