"""An interrupted and resumed run equals the uninterrupted one."""

import random

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import get_torch_safe_globals
from torch.utils.data import DataLoader, Dataset

from kd_methods.hooks.rng import get_rng_state, seed_all, set_rng_state
from kd_methods.hooks.worker_seeds import WorkerSeeds

HOOK = dict(type='ExactResumeHook')


def by_epoch(cfg, epochs, batch_size=4):
    """Make a run of 16 samples epoch-based."""
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=1)
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.train_dataloader.batch_size = batch_size
    return cfg


def test_iterations(tiny_cfg, runs, tmp_path):
    """Augmentations, dropout, EMA, a validation in between; no seed in the config."""
    cfg = tiny_cfg(iters=8, custom_hooks=[HOOK, dict(type='EMAHook', momentum=0.1)])
    cfg.randomness = dict(seed=None)
    cfg.train_cfg.val_interval = 4
    folder = tmp_path
    # Without a seed the two runs would not begin alike: the second is resumed from the first's
    # checkpoint instead of being interrupted itself.
    runs.train(cfg, folder / 'whole')
    whole = torch.load(folder / 'whole' / 'iter_8.pth', weights_only=False)
    cfg.load_from = str(folder / 'whole' / 'iter_4.pth')
    runs.train(cfg, folder / 'resumed', resume=True)
    resumed = torch.load(folder / 'resumed' / 'iter_8.pth', weights_only=False)
    for part in ('state_dict', 'ema_state_dict'):
        assert whole[part].keys() == resumed[part].keys()
        for name, value in whole[part].items():
            assert torch.equal(value, resumed[part][name]), f'{part}: {name}'


def test_interrupted(tiny_cfg, runs, tmp_path):
    """Optimizer, schedulers and generators end in the same state, too."""
    cfg = tiny_cfg(iters=8, custom_hooks=[HOOK])
    cfg.train_cfg.val_interval = 4
    assert runs.compare_with_resumed(cfg, tmp_path, stop=5) == []


def test_without_the_hook_it_differs(tiny_cfg, runs, tmp_path):
    """What the hook is for (and that the comparison sees a difference)."""
    cfg = tiny_cfg(iters=4)
    found = runs.compare_with_resumed(cfg, tmp_path, stop=3)
    assert any(d.startswith('state_dict: decode_head') for d in found)


def test_best_checkpoint_after_validation(tiny_cfg, runs, tmp_path):
    """The checkpoint that is written again in the validation has the training's states."""
    cfg = tiny_cfg(iters=6, custom_hooks=[HOOK])
    cfg.train_cfg.val_interval = 2
    cfg.default_hooks.checkpoint.update(save_best='mIoU')
    cfg.val_dataloader.dataset.pipeline.insert(2, dict(type='PhotoMetricDistortion'))
    assert runs.compare_with_resumed(cfg, tmp_path, stop=2) == []
    # mmengine's own list is enough to read it, so the resumption did not read it unsafely
    with torch.serialization.safe_globals(get_torch_safe_globals()):
        file = torch.load(tmp_path / 'whole' / 'iter_2.pth', weights_only=True)
    assert type(file['message_hub']['runtime_info']['best_score']) is float


def test_validation_does_not_change_training(tiny_cfg, runs, tmp_path):
    """Runs with and without validations end with the same weights."""
    ends = []
    for interval in (2, 100):
        cfg = tiny_cfg(iters=4, custom_hooks=[HOOK])
        cfg.train_cfg.val_interval = interval
        cfg.val_dataloader.dataset.pipeline.insert(2, dict(type='PhotoMetricDistortion'))
        ends.append(runs.train(cfg, tmp_path / str(interval)).model.state_dict())
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])


@pytest.mark.parametrize('persistent', [False, True])
def test_workers(tiny_cfg, runs, tmp_path, persistent):
    """Two workers, stopped at an odd iteration: each goes on with other batches than before."""
    cfg = tiny_cfg(iters=5, custom_hooks=[HOOK])
    cfg.train_dataloader.update(num_workers=2, persistent_workers=persistent)
    cfg.default_hooks.checkpoint.update(interval=1)
    assert runs.compare_with_resumed(cfg, tmp_path, stop=3) == []


def test_epochs(tiny_cfg, runs, tmp_path):
    """A loop by epochs goes on at the next epoch."""
    cfg = by_epoch(tiny_cfg(custom_hooks=[HOOK]), epochs=3)
    assert runs.compare_with_resumed(cfg, tmp_path, stop=5) == []


@pytest.mark.parametrize('persistent', [False, True])
def test_epochs_with_workers(tiny_cfg, runs, tmp_path, persistent):
    """Three batches for two workers: an epoch does not end with the last worker's turn."""
    cfg = by_epoch(tiny_cfg(custom_hooks=[HOOK]), epochs=3, batch_size=6)
    cfg.train_dataloader.update(num_workers=2, persistent_workers=persistent)
    assert runs.compare_with_resumed(cfg, tmp_path, stop=4) == []


def test_middle_of_an_epoch_warns(tiny_cfg, runs, tmp_path, caplog):
    """mmengine begins the epoch again, and the log says so."""
    cfg = by_epoch(tiny_cfg(custom_hooks=[HOOK]), epochs=2)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2)
    runs.train(cfg, tmp_path, stop=2)
    runner = runs.train(cfg, tmp_path, resume=True)
    log = next((tmp_path / runner.timestamp).glob('*.log')).read_text()
    assert 'from the middle of an epoch' in log


def test_old_checkpoint_warns(tiny_cfg, runs, tmp_path):
    """A checkpoint without states can be resumed, and the log says what is missing."""
    cfg = tiny_cfg(iters=4)
    runs.train(cfg, tmp_path, stop=2)
    cfg.custom_hooks = [HOOK]
    runner = runs.train(cfg, tmp_path, resume=True)
    log = next((tmp_path / runner.timestamp).glob('*.log')).read_text()
    assert 'without ExactResumeHook' in log


def test_checkpoint_is_read_safely(tiny_cfg, runs, tmp_path):
    """The states are tensors and plain values: our safe reading takes the file."""
    from kd_methods.networks.checkpoint import safe_load

    runs.train(tiny_cfg(iters=2, custom_hooks=[HOOK, HOOK]), tmp_path)
    state = safe_load(tmp_path / 'iter_2.pth')['exact_resume']
    assert len(state['ranks']) == 1
    torch.save(state, tmp_path / 'state.pth')
    torch.load(tmp_path / 'state.pth', weights_only=True)


def draw():
    """Numbers of all generators."""
    return random.random(), np.random.rand(), np.random.randn(), random.gauss(0, 1), torch.rand(3)


def test_rng_state():
    """All generators go back to where they were, a half-used Gaussian pair included."""
    seed_all(3)
    draw()
    state = get_rng_state()
    first = draw()
    draw()
    set_rng_state(state)
    again = draw()
    assert first[:4] == again[:4] and torch.equal(first[4], again[4])


class Draws(Dataset):
    """Samples that are random numbers."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor([index, np.random.rand(), random.random()], dtype=torch.float64)


def loader_from(start, workers, rank=0):
    """A loader whose first batch is the run's batch `start`."""
    loader = DataLoader(Draws(), batch_size=2, num_workers=workers, persistent_workers=True)
    seeds = WorkerSeeds(seed=7, rank=rank, length=3)
    seeds.start = start
    seeds.attach(loader)
    return loader


def test_worker_seeds():
    """A batch's numbers depend on its number in the run, not on workers and epochs before it."""
    loader = loader_from(0, workers=2)
    epochs = [torch.stack(list(loader)) for _ in range(3)]
    assert len({float(v) for e in epochs for v in e[..., 1].flatten()}) == 18
    other = loader_from(3, workers=1)
    for epoch in epochs[1:]:
        assert torch.equal(torch.stack(list(other)), epoch)
    assert not torch.equal(torch.stack(list(loader_from(0, workers=1, rank=1))), epochs[0])
