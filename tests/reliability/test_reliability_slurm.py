"""A Slurm job is told of its time limit, queued again, and goes on where it was. Slurm itself is a stub."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from toys import ROOT

SCRIPT = ROOT / 'tools' / 'slurm_train.sh'


@pytest.fixture
def slurm(tmp_path):
    """`slurm(*arguments, code=0, **env)`: exit code of the script, and its calls of Slurm in turn."""
    log = tmp_path / 'calls'
    for name in ('srun', 'sbatch', 'scontrol'):
        stub = tmp_path / name
        code = '$SRUN_CODE' if name == 'srun' else '0'
        stub.write_text(f'#!/bin/sh\n(echo {name}; printf "%s\\n" "$@"; echo ---) >> "{log}"\nexit {code}\n')
        stub.chmod(0o755)

    def run(*arguments: str, code: int = 0, **env: str) -> tuple[int, list[list[str]]]:
        log.unlink(missing_ok=True)
        names = {k: v for k, v in os.environ.items() if not k.startswith('SLURM_')}
        env = {
            **names,
            'PATH': f'{tmp_path}:{os.environ["PATH"]}',
            'SRUN_CODE': str(code),
            'PYTHON': 'py',
            **env,
        }
        done = subprocess.run([str(SCRIPT), *arguments], env=env, capture_output=True, text=True, timeout=60)
        calls = [call.split() for call in log.read_text().split('---\n') if call] if log.exists() else []
        return done.returncode, calls

    return run


def test_a_run_is_told_before_its_time_limit(slurm):
    code, (call,) = slurm('part', 'name', 'c.py')
    assert code == 0 and call[0] == 'srun' and '--signal=USR1@120' in call
    _, (call,) = slurm('part', 'name', 'c.py', SIGNAL='USR1@600')
    assert '--signal=USR1@600' in call


def test_batch_submits_itself_for_requeueing(slurm, tmp_path):
    """The job's command is this script again, with blanks in their places."""
    code, (call,) = slurm('part', 'name', 'c.py', '--seed', '3', BATCH='1', GPUS='2', SRUN_ARGS='--time=10')
    assert code == 0 and call[0] == 'sbatch'
    for option in ('--requeue', '--signal=USR1@120', '--open-mode=append', '--time=10', '--ntasks=2'):
        assert option in call
    wrapped = shlex.split(' '.join(call[call.index('--wrap') + 1 :]))
    assert wrapped == ['exec', 'bash', str(SCRIPT), 'part', 'name', 'c.py', '--seed', '3']
    assert Path(wrapped[2]).exists()


JOB = dict(BATCH='1', SLURM_JOB_ID='77')


def test_the_first_start_does_not_resume(slurm):
    code, (call,) = slurm('part', 'name', 'c.py', **JOB)
    assert code == 0 and call[-5:] == ['-u', str(ROOT / 'tools/train.py'), 'c.py', '--launcher', 'slurm']


@pytest.mark.parametrize('given', [(), ('--resume', 'old.pth')])
def test_the_requeued_job_resumes(slurm, given):
    """From its newest checkpoint, also where the command named another one for the first start."""
    from toys import load_tool

    _, (call,) = slurm('part', 'name', 'c.py', *given, SLURM_RESTART_COUNT='1', **JOB)
    arguments = call[call.index('c.py') :]
    assert load_tool('train').parse_args(arguments).resume == 'auto'


def test_saved_at_the_time_limit_is_queued_again(slurm):
    code, calls = slurm('part', 'name', 'c.py', code=138, **JOB)
    assert code == 138 and calls[1:] == [['scontrol', 'requeue', '77']]


@pytest.mark.parametrize('ended', [0, 1, 130, 143])
def test_any_other_end_is_the_end(slurm, ended):
    """Done, an error, Ctrl-C, scancel."""
    code, calls = slurm('part', 'name', 'c.py', code=ended, **JOB)
    assert code == ended and len(calls) == 1
