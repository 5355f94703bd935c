"""Two processes train as one, with `find_unused_parameters=False`."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from toys import ROOT, free_port, run_script

SURVIVORS = (
    'schedule over',
    'all schedules over',
    'weight 0',
    'no student loss',
    'auto weight',
    'one rank ignored',
    'SyncBN',
    'C2VKD',
    'C2VKD, no VLFD',
    'with_cp',
)


@pytest.fixture(scope='module')
def seen(tmp_path_factory) -> dict:
    """What rank 0 of two processes saw; all cases run in one start of the processes."""
    result = tmp_path_factory.mktemp('ddp') / 'seen.pt'
    done = run_script(
        sys.executable,
        ROOT / 'tools/dist_run.py',
        '--nproc_per_node',
        '2',
        '--master_addr',
        '127.0.0.1',
        '--master_port',
        free_port(),
        Path(__file__).with_name('ddp_worker.py'),
        result,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(result)


def test_gradients_of_two_ranks_equal_one_process(seen):
    whole, halves = seen['gradients']['whole'], seen['gradients']['halves']
    assert set(whole) == set(halves)
    assert any(name.startswith('distiller.') for name in whole)  # the adapter is trained
    for name, gradient in whole.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(halves[name], gradient, rtol=1e-7, atol=1e-12, msg=name)


def test_teacher_is_not_in_ddp(seen):
    wrapped = seen['gradients']['wrapped']
    assert wrapped and not [name for name in wrapped if 'teacher' in name]
    assert {name.split('.')[1] for name in wrapped} == {'architecture', 'distiller'}


@pytest.mark.parametrize('case', SURVIVORS)
def test_ranks_stay_together(seen, case):
    result = seen[case]
    assert len(result['logged']) == 4
    assert all(math.isfinite(step['loss']) for step in result['logged'])
    assert result['apart'] == 0
    assert any(name.startswith('architecture.backbone') for name in result['moved'])


def test_finished_schedules_leave_no_loss(seen):
    names = [
        [n for n in step if n.startswith('distill.loss')] for step in seen['all schedules over']['logged']
    ]
    assert [len(n) for n in names] == [2, 1, 0, 0]


def test_parameters_without_a_path_stay_where_they_are(seen):
    moved = seen['weight 0']['moved']
    assert not [name for name in moved if name.startswith('distiller.')]
    moved = seen['no student loss']['moved']
    assert not [name for name in moved if '.auxiliary_head.' in name]
    assert [name for name in moved if name.startswith('distiller.')]


def test_adapters_of_c2vkd_move_with_its_feature_terms_alone(seen):
    assert [name for name in seen['C2VKD']['moved'] if name.startswith('distiller.')]
    assert not [name for name in seen['C2VKD, no VLFD']['moved'] if name.startswith('distiller.')]


def test_auto_weight_is_found(seen):
    weight = seen['auto weight']['auto']['loss_feature']
    assert 0 < weight < 10
    assert seen['auto weight']['logged'][-1]['distill.feature_weight'] == pytest.approx(weight)


def test_unused_parameters_beside_checkpointed_blocks_stay_where_they_are(seen):
    moved = seen['with_cp']['moved']
    unused = ('architecture.backbone.norm0', 'architecture.backbone.norm1')
    assert not [name for name in moved if name.startswith(unused)]
    assert [name for name in moved if '.blocks.0.attn.' in name]


def test_sync_bn_becomes_bn_without_cuda(seen):
    norms = seen['SyncBN']['norms']
    assert norms
    assert 'SyncBatchNorm' not in norms
