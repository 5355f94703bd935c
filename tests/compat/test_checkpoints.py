"""The allow-list: loads what mmengine's runner writes, and nothing that runs code."""

import builtins
import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

import kd_methods  # noqa: F401
from kd_methods.compat import safe_globals


class Points(torch.utils.data.Dataset):
    """Random points; the meta data hold what datasets put there."""

    metainfo = dict(
        classes=('a', 'b'), palette=np.eye(2, 3, dtype=np.uint8), size=np.int64(3), empty=np.zeros(0)
    )

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.randn(3)


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    def forward(self, *points, mode='loss'):
        return dict(loss=self.net(torch.stack(points)).square().mean())


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """The path of a checkpoint of a real run: optimizer, schedulers, EMA, message hub, meta."""
    work_dir = tmp_path_factory.mktemp('run')
    runner = Runner(
        Toy(),
        work_dir=str(work_dir),
        train_dataloader=dict(batch_size=4, sampler=dict(type='DefaultSampler'), dataset=Points()),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1), clip_grad=dict(max_norm=1.0)
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3),
            dict(type='MultiStepLR', milestones=[1]),
        ],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=[dict(type='EMAHook')],
        cfg=dict(key=dict(list=[1, 2])),
        experiment_name='safe_globals',
        log_level='ERROR',
    )
    runner.message_hub.update_info('best_score', np.float64(3.25))
    runner.train()
    return work_dir / 'epoch_1.pth'


def safe_load(file):
    with torch.serialization.safe_globals(safe_globals()):
        return torch.load(file, weights_only=True)


def saved(data) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(data, file)
    file.seek(0)
    return file


def test_runner_checkpoint_needs_the_list(checkpoint):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(checkpoint, weights_only=True)


def test_runner_checkpoint_loads(checkpoint):
    safe = safe_load(checkpoint)
    full = torch.load(checkpoint, weights_only=False)
    assert set(safe) == set(full) >= {
        'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers', 'ema_state_dict',
    }  # fmt: skip
    for key, value in full['state_dict'].items():
        assert torch.equal(safe['state_dict'][key], value)
    np.testing.assert_equal(safe['meta']['dataset_meta'], full['meta']['dataset_meta'])
    history = safe['message_hub']['log_scalars']['train/loss']
    assert type(history) is HistoryBuffer
    assert history.mean() == full['message_hub']['log_scalars']['train/loss'].mean()
    assert safe['message_hub']['runtime_info']['best_score'] == 3.25


@pytest.mark.parametrize(
    'value',
    [
        ConfigDict(a=[1, dict(b=(2, ConfigDict(c=3)))]),
        OrderedDict(a=1),
        np.float32(1.5),
        np.bool_(True),
        np.str_('text'),
        np.array(['a', 'bb']),
        np.array([1 + 2j]),
        np.arange(6, dtype=np.uint16).reshape(2, 3),
        np.zeros((0, 4)),
        slice(1, 2),
        {1, 2},
        torch.Size([1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_in_meta_data_load(value):
    loaded = safe_load(saved(dict(value=value)))['value']
    assert type(loaded) is type(value)
    np.testing.assert_equal(loaded, value)


@pytest.mark.parametrize('core', ['core', '_core'])
def test_both_spellings_of_numpys_core(core):
    """numpy 1 wrote `numpy.core`, numpy 2 writes `numpy._core`; a file may come from either."""
    data = dict(a=np.arange(3), b=np.float64(2))
    file = io.BytesIO()
    with zipfile.ZipFile(saved(data)) as source, zipfile.ZipFile(file, 'w') as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith('data.pkl'):
                content, count = re.subn(rb'numpy\._?core\.', f'numpy.{core}.'.encode(), content)
                assert count >= 2
            target.writestr(name, content)
    file.seek(0)
    np.testing.assert_equal(safe_load(file), data)


class Malicious:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'function, args',
    [
        (os.system, ('touch {path}',)),
        (eval, ('open("{path}", "w")',)),
        (open, ('{path}', 'w')),
        (getattr, (np.ndarray, 'tofile')),
        (getattr, (HistoryBuffer, '__init__')),
        (getattr, (HistoryBuffer, 'register_statistics')),
        (np.fromfile, ('{path}',)),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_file_that_would_run_code_is_refused(function, args, tmp_path):
    path = tmp_path / 'ran'
    args = [arg.format(path=path) if isinstance(arg, str) else arg for arg in args]
    with pytest.raises(pickle.UnpicklingError):
        safe_load(saved(dict(state_dict={}, meta=Malicious(function, *args))))
    assert not path.exists()


def test_list_holds_no_function_that_takes_code():
    """Classes of plain data, numpy's two functions, and the stand-in for getattr."""
    for entry in safe_globals():
        thing = entry[0] if isinstance(entry, tuple) else entry
        assert thing not in (getattr, eval, exec, builtins.__import__, type, object)
        if not isinstance(thing, type):
            assert thing.__name__ in ('_known_method', '_reconstruct', 'scalar')


def test_nothing_stays_allowed_afterwards(checkpoint):
    safe_load(checkpoint)
    assert not set(safe_globals()) & set(torch.serialization.get_safe_globals())


@pytest.mark.parametrize('anneal', ['cos', 'linear'])
def test_one_cycle_schedules_load(anneal, tmp_path):
    """mmengine keeps the annealing function itself in the scheduler's state."""
    from mmengine.optim import OneCycleLR

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = OneCycleLR(optimizer, eta_max=0.1, total_steps=10, anneal_strategy=anneal)
    torch.save(dict(param_schedulers=[scheduler.state_dict()]), tmp_path / 'x.pth')
    with torch.serialization.safe_globals(safe_globals()):
        state = torch.load(tmp_path / 'x.pth', weights_only=True)['param_schedulers'][0]
    assert state['anneal_func'](1.0, 0.0, 0.0) == 1.0
    assert state['last_step'] == scheduler.state_dict()['last_step']
