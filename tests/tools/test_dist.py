"""The scripts that start several processes: two on this machine, and Slurm's command line."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from toys import ROOT, free_port, run_script, tiny_distillation

from kd_methods.engine import launch

TOOLS = ROOT / 'tools'


def metrics_of(text: str) -> dict:
    """The metrics that test.py printed as its last line."""
    return json.loads(text.strip().splitlines()[-1].removeprefix('metrics: '))


# ---------------------------------------------------------------- two processes


def test_dist_train_distils(tiny_config, tiny_teacher, tmp_path):
    """Schedule over, one weight 0, no task loss although there is an auxiliary head. Nothing on stderr."""
    model = tiny_distillation(tiny_teacher, calculate_student_loss=False)
    model['distiller']['loss_schedules'] = dict(loss_logits=dict(end=2))
    model['distiller']['distill_losses']['loss_logits']['loss_weight'] = 100.0
    model['distiller']['distill_losses']['loss_feature']['loss_weight'] = 0.0
    config = tiny_config('dist_distill', model=model)
    done = run_script(TOOLS / 'dist_train.sh', config, 2, '--work-dir', tmp_path, PORT=free_port())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''  # neither torchrun's warning about threads nor anybody else's
    lines = [line for line in done.stdout.splitlines() if 'Iter(train)' in line]
    assert lines and not [line for line in lines if 'loss_feature' in line or 'student.' in line]
    losses = [float(re.search(r' loss: ([\d.]+)', line)[1]) for line in lines]
    assert losses[0] > 0 and losses[1] > 0 and losses[2:] == [0, 0]
    saved = torch.load(tmp_path / 'iter_4.pth', weights_only=False)
    assert saved['meta']['iter'] == 4
    assert not [name for name in saved['state_dict'] if 'teacher' in name or name.startswith('module.')]
    assert (tmp_path / 'iter_4_student.pth').exists()


def test_two_ranks_evaluate_like_one(tiny_teacher, tools, tmp_path):
    # 5 images: one rank has to have one of them twice, and it must count once
    run = [tiny_teacher.config, tiny_teacher.checkpoint]
    alone = tools.test([*map(str, run), '--work-dir', str(tmp_path / 'one')])
    argv = [*run, 2, '--work-dir', tmp_path / 'two']
    done = run_script(TOOLS / 'dist_test.sh', *argv, PORT=free_port())
    assert done.returncode == 0, done.stderr
    assert metrics_of(done.stdout) == pytest.approx(alone, abs=1e-4)
    assert done.stdout.count('metrics: ') == 1


# ---------------------------------------------------------------- the end of a run


def run_two(script: Path, port: str):
    """Two processes of a script, started as dist_train.sh starts them."""
    argv = ['--nproc_per_node', '2', '--master_addr', '127.0.0.1', '--master_port', port]
    return run_script(sys.executable, TOOLS / 'dist_run.py', *argv, script)


@pytest.mark.parametrize(
    'body, code, said',
    [
        ('import sys; sys.exit(3)', 3, 'ended with exit code 3'),
        ('import os; os.kill(os.getpid(), 9)', 137, 'was killed by SIGKILL'),
    ],
)
def test_failure_is_passed_on_without_a_traceback(tmp_path, body, code, said):
    script = tmp_path / 'script.py'
    script.write_text(body)
    done = run_two(script, free_port())
    assert done.returncode == code
    assert said in done.stderr and 'Traceback' not in done.stderr


def test_taken_port_is_named(tmp_path):
    import socket

    script = tmp_path / 'script.py'
    script.write_text('')
    with socket.socket() as s:
        s.bind(('0.0.0.0', 0))
        s.listen()
        port = s.getsockname()[1]
        done = run_two(script, port)
    assert done.returncode == 1
    assert f'Port {port}' in done.stderr and f'PORT={port + 1}' in done.stderr


# ---------------------------------------------------------------- command lines


def record_calls(folder: Path, name: str) -> dict:
    """Put a program on the PATH that writes its arguments and environment; returns the new PATH."""
    folder.mkdir(exist_ok=True)
    fake = folder / name
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{folder}/args"\nenv > "{folder}/env"\n')
    fake.chmod(0o755)
    return dict(PATH=f'{folder}:{os.environ["PATH"]}')


@pytest.mark.parametrize(
    'script, files, tool',
    [('dist_train.sh', ['c.py'], 'train.py'), ('dist_test.sh', ['c.py', 'c.pth'], 'test.py')],
)
def test_machines_reach_torchrun(tmp_path, script, files, tool):
    record_calls(tmp_path, 'python')
    done = run_script(
        TOOLS / script,
        *files,
        4,
        '--cfg-options',
        'a=[1, 2]',
        PYTHON=str(tmp_path / 'python'),
        NNODES='3',
        NODE_RANK='2',
        PORT='1234',
        MASTER_ADDR='10.0.0.1',
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'args').read_text().splitlines() == [
        str(TOOLS / 'dist_run.py'),
        '--nnodes',
        '3',
        '--node_rank',
        '2',
        '--nproc_per_node',
        '4',
        '--master_addr',
        '10.0.0.1',
        '--master_port',
        '1234',
        str(TOOLS / tool),
        *files,
        '--launcher',
        'pytorch',
        '--cfg-options',
        'a=[1, 2]',
    ]
    run_script(TOOLS / script, *files, 4, PYTHON=str(tmp_path / 'python'))
    args = (tmp_path / 'args').read_text().splitlines()
    assert args[1:11:2] == ['--nnodes', '--node_rank', '--nproc_per_node', '--master_addr', '--master_port']
    assert args[2:11:2] == ['1', '0', '4', '127.0.0.1', '29500']


@pytest.mark.parametrize(
    'script, files, tool',
    [('slurm_train.sh', ['c.py'], 'train.py'), ('slurm_test.sh', ['c.py', 'c.pth'], 'test.py')],
)
def test_slurm(tmp_path, script, files, tool):
    path = record_calls(tmp_path, 'srun')
    command = [TOOLS / script, 'part', 'name', *files, '--work-dir', 'a b']
    done = run_script(
        *command,
        GPUS='16',
        CPUS_PER_TASK='7',
        PORT='4321',
        PYTHON='py',
        SRUN_ARGS='--quotatype=spot --async',
        **path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'args').read_text().splitlines() == [
        '--partition=part',
        '--job-name=name',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--cpus-per-task=7',
        *(['--signal=USR1@120'] if tool == 'train.py' else []),
        '--kill-on-bad-exit=1',
        '--quotatype=spot',
        '--async',
        'py',
        '-u',
        str(TOOLS / tool),
        *files,
        '--launcher',
        'slurm',
        '--work-dir',
        'a b',
    ]
    assert 'MASTER_PORT=4321' in (tmp_path / 'env').read_text().splitlines()
    run_script(*command, GPUS='2', GRES='', **path)
    args = (tmp_path / 'args').read_text().splitlines()
    assert args[2:4] == ['--ntasks=2', '--ntasks-per-node=2']  # no --gres, and one node


@pytest.mark.parametrize(
    'script, arguments, said',
    [
        ('dist_train.sh', ['c.py'], 'CONFIG GPUS'),
        ('dist_test.sh', ['c.py', '2'], 'CHECKPOINT GPUS'),
        ('dist_train.sh', ['c.py', '--amp'], "GPUS is '--amp'"),
        ('dist_test.sh', ['c.py', 'c.pth', '0'], "GPUS is '0'"),
        ('slurm_train.sh', ['part', 'c.py'], 'PARTITION JOB_NAME CONFIG'),
        ('slurm_test.sh', ['part', 'name', 'c.py'], 'PARTITION JOB_NAME CONFIG CHECKPOINT'),
    ],
)
def test_usage(script, arguments, said):
    done = run_script(TOOLS / script, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


# ---------------------------------------------------------------- launch helpers


def test_ranks_of_each_launcher(monkeypatch):
    for name, value in dict(SLURM_PROCID=5, SLURM_NTASKS=8, SLURM_LOCALID=1).items():
        monkeypatch.setenv(name, str(value))
    assert launch.read_ranks('slurm') == (5, 8, 1)
    monkeypatch.delenv('SLURM_NTASKS')
    with pytest.raises(ValueError, match='SLURM_NTASKS is not set.*slurm_train.sh'):
        launch.read_ranks('slurm')


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(launch, 'on_cpu', lambda: False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    for name, value in dict(RANK=1, WORLD_SIZE=2, LOCAL_RANK=1).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ValueError, match='process 1 of this node has no GPU, since 1 are visible'):
        launch.init_distributed('pytorch')


def test_slurm_on_cpu_finds_its_first_node(monkeypatch, tmp_path):
    fake = tmp_path / 'scontrol'
    fake.write_text('#!/bin/sh\necho "$3-first"\necho second\n')
    fake.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setenv('SLURM_NODELIST', 'node')
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    for name, value in dict(SLURM_PROCID=3, SLURM_NTASKS=4, SLURM_LOCALID=1).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(launch, 'on_cpu', lambda: True)
    opened = []
    monkeypatch.setattr(
        launch.torch_dist, 'init_process_group', lambda *args, **kwargs: opened.append((args, kwargs))
    )
    launch.init_distributed('slurm', dict(backend='nccl', timeout=60))
    assert opened[0][0] == ('gloo',) and opened[0][1]['timeout'].total_seconds() == 60
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    assert [os.environ[n] for n in names] == ['3', '4', '1', 'node-first', '29500']


def test_config_is_fitted_to_the_device(monkeypatch):
    def make(**kwargs) -> Config:
        return Config(
            dict(
                dict(
                    launcher='pytorch',
                    sync_bn='torch',
                    find_unused_parameters=True,
                    optim_wrapper=dict(type='AmpOptimWrapper', loss_scale='dynamic'),
                ),
                **kwargs,
            )
        )

    monkeypatch.setattr(launch, 'on_cpu', lambda: False)
    cfg = make()
    launch.fit_to_device(cfg)
    assert cfg.to_dict() == make().to_dict()
    for given, pinned in ((dict(), True), (dict(pin_memory=False), False)):
        with_data = make(train_dataloader=given)
        launch.fit_to_device(with_data)
        assert with_data.train_dataloader.pin_memory is pinned
    monkeypatch.setattr(launch, 'on_cpu', lambda: True)
    launch.fit_to_device(cfg)
    assert cfg.optim_wrapper.type == 'CPUAmpOptimWrapper'
    assert cfg.model_wrapper_cfg == dict(type='CPUDistributedDataParallel', find_unused_parameters=True)
    assert 'sync_bn' not in cfg
    own = make(model_wrapper_cfg=dict(type='MyWrapper'))
    launch.fit_to_device(own)
    assert own.model_wrapper_cfg == dict(type='MyWrapper')
    single = make(launcher='none')
    launch.fit_to_device(single)
    assert 'model_wrapper_cfg' not in single
