"""tools/sweep.py: its command line, its mistakes, whole sweeps, and sweeps that are killed."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from run_fixtures import differences
from toys import ROOT, load_tool, tiny_distillation, tiny_model, tiny_run, write_config

SEEDS = (0, 1)
COMMON = ['--result', 'val', '--jobs', '2']  # a test is a further process, which takes seconds to start


@pytest.fixture(scope='module')
def sweep():
    return load_tool('sweep')


@pytest.fixture(scope='module')
def configs(tiny_scenes, tiny_teacher, tmp_path_factory) -> list[str]:
    """Two arms: a student alone and distilled, 6 iterations with a validation and a checkpoint every 2."""
    folder, written = tmp_path_factory.mktemp('sweep_configs'), []
    for name, model in dict(alone=tiny_model(4), kd=tiny_distillation(tiny_teacher)).items():
        cfg = dict(tiny_run(tiny_scenes, iters=6), model=model)
        cfg['train_cfg']['val_interval'] = cfg['default_hooks']['checkpoint']['interval'] = 2
        cfg['optim_wrapper']['optimizer']['lr'] = 1e-3  # at ten times that all is called background
        written.append(f'{name}={write_config(folder / f"{name}.py", cfg)}')
    return written


@pytest.fixture(scope='module')
def whole(sweep, configs, tmp_path_factory) -> SimpleNamespace:
    """A sweep that nothing disturbs: `.out`, `.argv`, `.seconds`, `.found`."""
    out, start = tmp_path_factory.mktemp('sweep') / 'whole', time.monotonic()
    argv = [*configs, '--seeds', *map(str, SEEDS), *COMMON, '--out', str(out)]
    assert sweep.main(argv) == 0
    found = json.loads((out / 'sweep.json').read_text())
    return SimpleNamespace(out=out, argv=argv, found=found, seconds=time.monotonic() - start)


def results(found: dict) -> dict:
    """What of a `sweep.json` does not depend on the machine."""
    names = ('key', 'metrics', 'validation', 'length', 'extra_parameters')
    return {(run['arm'], run['seed']): {name: run[name] for name in names} for run in found['runs']}


# ---------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    'text, values',
    [
        ('a.b=1,2.5,x', [1, 2.5, 'x']),
        ('a.b=auto', ['auto']),
        ('a.b=[1,2],[3,4]', [[1, 2], [3, 4]]),
        ('a.b=(96,96),(64,64)', [(96, 96), (64, 64)]),
        ('a.b=True,None', [True, None]),
    ],
)
def test_values_to_try(sweep, text, values):
    args = sweep.parse_args(['c.py', '--out', 'o', '--set', text, 'other=3'])
    assert args.settings == {'a.b': values, 'other': [3]}


def test_values_of_two_options_are_joined(sweep):
    args = sweep.parse_args(['c.py', '--out', 'o', '--set', 'a=1', '--set', 'b=2', '--lengths', '0.5', '2'])
    assert args.settings == dict(a=[1], b=[2]) and args.lengths == [0.5, 2]


@pytest.mark.parametrize(
    'argv, said',
    [
        (['--set', 'a'], "--set: got 'a', expected KEY=A,B,C"),
        (['--set', 'a='], "--set: got 'a=', expected KEY=A,B,C"),
        (['--set', 'a=[1,2'], "the brackets of 'a=[[1,2]' do not match"),
        (['--lengths', '0'], 'must be a positive number'),
        (['--lengths', 'x'], 'must be a positive number'),
        (['--jobs', '0'], 'must be a positive integer'),
    ],
)
def test_mistakes_of_the_command_line(sweep, capsys, argv, said):
    with pytest.raises(SystemExit):
        sweep.parse_args(['c.py', '--out', 'o', *argv])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    'argv, said',
    [
        (['{alone}', '--baseline', 'alne'], r"--baseline: no arm 'alne'. Did you mean 'alone'\?"),
        (['{alone}', 'alone={kd_file}'], 'CONFIG: more than one arm is called alone'),
        (['{alone}', 'none.py'], "CONFIG: no config file 'none.py'"),
        (['{alone}', '{broken}'], 'CONFIG: .*broken.py is not valid Python'),
        (['{alone}', '--known', 'none.json'], '--known: none.json is no sweep.json of this tool'),
        (['{alone}', '--known', '{broken}'], '--known: .*broken.py is no sweep.json of this tool'),
    ],
)
def test_mistakes_are_told_before_any_training(sweep, configs, tmp_path, argv, said):
    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(')
    names = dict(alone=configs[0], kd_file=configs[1].partition('=')[2], broken=broken)
    out = tmp_path / 'out'
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        sweep.main([part.format(**names) for part in argv] + ['--out', str(out)])
    assert not out.exists()


def test_devices_are_those_of_the_environment(sweep, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '2,5')
    assert sweep.devices() == ['2', '5']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert sweep.devices() == []


# ---------------------------------------------------------------------------------------- whole sweeps


def test_results_are_those_of_the_trainings(whole):
    found = whole.found
    assert [(run['arm'], run['seed']) for run in found['runs']] == [
        (arm, seed) for arm in ('alone', 'kd') for seed in SEEDS
    ]
    assert (found['metric'], found['baseline'], found['result']) == ('mIoU', 'alone', 'val')
    for run in found['runs']:
        assert list(run['validation']['mIoU']) == ['2', '4', '6'] and run['length'] == 6
        assert run['metrics']['mIoU'] == round(run['validation']['mIoU']['6'], 4) and run['seconds'] > 0
    figures = [(run['metrics']['mIoU'], run['metrics']['aAcc']) for run in found['runs']]
    assert len(set(figures)) == len(figures)  # the comparisons below could fail
    adapter = {run['arm']: run['extra_parameters'] for run in found['runs']}
    # a convolution from 32 to 64 channels with its batch norm or bias
    assert adapter['alone'] == 0 and adapter['kd'] >= 32 * 64


def test_report_of_a_sweep(whole):
    text = (whole.out / 'sweep.md').read_text()
    assert text.startswith(
        "mIoU, last validation; gains over 'alone', paired by seed.\n\n|  | seeds | mIoU |"
    )
    values = {key: run['metrics']['mIoU'] for key, run in results(whole.found).items()}
    gain = np.mean([values['kd', seed] - values['alone', seed] for seed in SEEDS])
    row = next(line for line in text.splitlines() if line.startswith('| kd'))
    assert row.split(' | ')[3] == f'{gain:+.2f}'
    picture = np.asarray(Image.open(whole.out / 'sweep.png').convert('RGB'))
    assert (picture == (0x25, 0x63, 0xEB)).all(-1).sum() > 30  # the arm that is not the baseline


def test_a_finished_sweep_is_only_reported(sweep, whole, capsys):
    assert sweep.main(whole.argv) == 0
    said = capsys.readouterr().out
    assert '4 of 4 done before' in said and 'starts' not in said
    assert results(json.loads((whole.out / 'sweep.json').read_text())) == results(whole.found)


def test_runs_of_another_sweep_are_taken_over(sweep, whole, configs, tmp_path, capsys):
    renamed = ['base' + configs[0].removeprefix('alone'), configs[1]]
    argv = [*renamed, '--seeds', '0', '0', *COMMON, '--out', str(tmp_path)]
    assert sweep.main([*argv, '--known', str(whole.out / 'sweep.json')]) == 0
    assert 'starts' not in capsys.readouterr().out
    found = json.loads((tmp_path / 'sweep.json').read_text())
    assert list(results(found)) == [('base', 0), ('kd', 0)] and found['baseline'] == 'base'
    assert results(found)['base', 0] == results(whole.found)['alone', 0]


# --------------------------------------------------------------------------------------- killed sweeps


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def killed_sweep(argv: list[str], out: Path, moments: list[float]) -> None:
    """Start a sweep, kill it so many seconds after it has begun, and again; let the last one end."""
    command = [sys.executable, '-u', ROOT / 'tools' / 'sweep.py', *argv, '--out', out]
    orphans: list[psutil.Process] = []
    for moment in [*moments, None]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = ''
        while 'at one time' not in said:  # no earlier than the trainings of the last one have ended
            line = process.stdout.readline()
            assert line, said
            said += line
        assert not [orphan for orphan in orphans if alive(orphan)]
        if moment is None:
            said += process.communicate(timeout=240)[0]
            assert process.returncode == 0, said
            break
        time.sleep(moment)
        orphans = psutil.Process(process.pid).children(recursive=True)
        assert orphans, 'the sweep was over before it was killed'
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not [p for p in psutil.process_iter(['cmdline']) if str(out) in ' '.join(p.info['cmdline'] or [])]


def check_promise(whole: SimpleNamespace, out: Path, seeds: tuple[int, ...]) -> None:
    """The results, and the weights bit by bit, are those of the sweep that nothing has disturbed."""
    expected = {key: run for key, run in results(whole.found).items() if key[1] in seeds}
    assert results(json.loads((out / 'sweep.json').read_text())) == expected
    for arm, seed in expected:
        last = Path('runs') / arm / f'seed_{seed}' / 'iter_6.pth'
        states = [torch.load(folder / last, weights_only=False)['state_dict'] for folder in (whole.out, out)]
        assert differences(*states) == []


def test_a_killed_sweep_ends_as_one_that_was_not(whole, configs, tmp_path):
    moment = random.Random(0).uniform(0.3, 0.5) * whole.seconds / len(SEEDS)
    killed_sweep([*configs, '--seeds', '0', *COMMON], tmp_path / 'out', [moment])
    check_promise(whole, tmp_path / 'out', (0,))


@pytest.mark.slow
@pytest.mark.parametrize('seed', [1, 2])
def test_a_sweep_that_is_killed_three_times_ends_as_one_that_was_not(whole, configs, tmp_path, seed):
    draw = random.Random(seed)
    moments = [draw.uniform(0.1, 0.5) * whole.seconds for _ in range(3)]
    killed_sweep([*configs, '--seeds', *map(str, SEEDS), *COMMON], tmp_path / 'out', moments)
    check_promise(whole, tmp_path / 'out', SEEDS)
