"""A run that accumulates gradients goes on exactly, wherever in an accumulation it was stopped."""

import pytest
import torch
from mmengine.config import Config
from toys import ROOT, free_port, run_script

EXACT = dict(type='ExactResumeHook')
COUNTS = 3


def accumulating(cfg: Config) -> Config:
    """Accumulate three iterations; the last accumulation of a run of 8 has two."""
    cfg.optim_wrapper.accumulative_counts = COUNTS
    cfg.default_hooks.checkpoint.update(interval=1)
    return cfg


@pytest.mark.parametrize('stop', [2, 4, 6, 7])
def test_stop_within_an_accumulation(tiny_cfg, runs, tmp_path, stop):
    cfg = accumulating(tiny_cfg(iters=8, custom_hooks=[EXACT]))
    assert runs.compare_with_resumed(cfg, tmp_path, stop=stop) == []


def test_gradients_are_stored_within_an_accumulation_only(tiny_cfg, runs, tmp_path):
    """Three ends of an accumulation of 8 iterations, the run's last one included."""
    runs.train(accumulating(tiny_cfg(iters=8, custom_hooks=[EXACT])), tmp_path)
    for n in range(1, 9):
        stored = torch.load(tmp_path / f'iter_{n}.pth', weights_only=False)['exact_resume']['gradients']
        assert len(stored) == (0 if n in (3, 6, 8) else 1), n


def test_with_amp_and_clipping(tiny_cfg, runs, tmp_path):
    cfg = accumulating(tiny_cfg(iters=6, custom_hooks=[EXACT, dict(type='EMAHook')]))
    cfg.optim_wrapper.update(type='AmpOptimWrapper', clip_grad=dict(max_norm=1.0))
    assert runs.compare_with_resumed(cfg, tmp_path, stop=4) == []


def test_without_the_gradients_it_differs(tiny_cfg, runs, tmp_path, monkeypatch):
    """The comparison sees what was lost."""
    from kd_methods.hooks import exact_resume

    monkeypatch.setattr(exact_resume, '_parameters', lambda runner: ())
    cfg = accumulating(tiny_cfg(iters=6, custom_hooks=[EXACT]))
    assert any(d.startswith('state_dict') for d in runs.compare_with_resumed(cfg, tmp_path, stop=4))


@pytest.mark.slow
def test_two_ranks(tiny_config, tmp_path):
    """Each rank has gradients of its own until the accumulation ends."""
    optim = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01), accumulative_counts=COUNTS)
    config = tiny_config('accumulating', iters=6, optim_wrapper=optim)
    ends, whole = [], tmp_path / 'whole'
    for folder, more in ((whole, ()), (tmp_path / 'parts', ('--resume', whole / 'iter_4.pth'))):
        options = (*more, '--work-dir', folder, '--cfg-options', 'default_hooks.checkpoint.interval=4')
        done = run_script(ROOT / 'tools/dist_train.sh', config, '2', *options, PORT=free_port())
        assert done.returncode == 0, done.stderr
        ends.append(torch.load(folder / 'iter_6.pth', weights_only=False)['state_dict'])
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    stored = torch.load(whole / 'iter_4.pth', weights_only=False)['exact_resume']['gradients']
    assert any(not torch.equal(stored[0][name], stored[1][name]) for name in stored[0])
