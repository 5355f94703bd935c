"""tools/demo.py: the whole flow on tiny sizes, interrupted and gone on with; what it leaves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from demo_parts import stages
from PIL import Image
from toys import load_tool

from kd_methods.scenes.dataset import SceneDataset
from kd_methods.utils.files import exclusive_folder

ARMS = ('teacher', 'alone', 'i2ckd')


@pytest.fixture(scope='module')
def demo():
    return load_tool('demo')


def name_of(command: list) -> str:
    """`train teacher`, `test alone`, ... of a stage's command line."""
    work_dir = Path(command[command.index('--work-dir') + 1])
    arm = work_dir.parent if work_dir.name == 'test' else work_dir
    return f'{Path(command[0]).stem} {arm.name}' + (' (resumed)' if '--resume' in command else '')


@pytest.fixture(scope='module')
def quick(demo, tmp_path_factory) -> SimpleNamespace:
    """The quick demo, stopped in the middle of the second training, then called again."""
    root = tmp_path_factory.mktemp('demo')
    argv = ['--quick', '--work-dir', str(root), '--threads', '1']
    calls: list[list[str]] = [[]]
    real = stages.run_process

    def recorded(title, command, *args):
        calls[-1].append(name_of(command))
        if calls[-1] == ['train teacher', 'test teacher', 'train alone'] and len(calls) == 1:
            # as far as the first checkpoint
            real(title, [*command, 'train_cfg.max_iters=2'], *args)
            raise KeyboardInterrupt
        real(title, command, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, 'run_process', recorded)
        with pytest.raises(KeyboardInterrupt):
            demo.main(argv)
        unfinished = (root / 'results.json').exists()
        calls.append([])
        results = demo.main(argv)
        calls.append([])
        again = demo.main(argv)
    return SimpleNamespace(
        root=root, argv=argv, calls=calls, results=results, again=again, unfinished=unfinished
    )


def test_goes_on_where_it_was_stopped(quick):
    assert quick.calls[0] == ['train teacher', 'test teacher', 'train alone'] and not quick.unfinished
    assert quick.calls[1] == ['train alone (resumed)', 'test alone', 'train i2ckd', 'test i2ckd']
    assert quick.calls[2] == [] and quick.again == quick.results
    said = (quick.root / 'seed_0' / 'alone' / 'output.txt').read_text()
    assert re.search(r'resumed.* iter: 2', said) and 'Iter(train) [3/4]' in said


def test_results_are_those_of_the_tests(quick):
    results = json.loads((quick.root / 'results.json').read_text())
    assert results == quick.results
    assert [(run['arm'], run['seed']) for run in results['runs']] == [(arm, 0) for arm in ARMS]
    for run in results['runs']:
        tested = json.loads((quick.root / 'seed_0' / run['arm'] / 'test' / 'test_best.json').read_text())
        assert {k: run[k] for k in tested['metrics']} == tested['metrics']
        assert Path(tested['checkpoint']) == quick.root / run['checkpoint']
        assert run['seconds_per_iteration'] > 0 and run['iterations'] == 4
        assert results['summary'][run['arm']]['mean'] == run['mIoU']
    arms = results['arms']
    assert arms['alone']['parameters'] == arms['i2ckd']['parameters'] < arms['teacher']['parameters']
    assert arms['alone']['flops'] == arms['i2ckd']['flops'] < arms['teacher']['flops']
    rows = (quick.root / 'results.md').read_text().splitlines()
    assert len(rows) == 5 and rows[4].startswith('| student with I2CKD |')


def test_pictures_show_something(quick):
    predictions = np.asarray(Image.open(quick.root / 'predictions.png').convert('RGB')).reshape(-1, 3)
    shown = {tuple(colour) for colour in np.unique(predictions, axis=0).tolist()}
    label = np.asarray(Image.open(quick.root / 'scenes' / 'val' / 'labels' / '00000.png'))
    palette = np.array(SceneDataset.METAINFO['palette'])
    assert {tuple(c) for c in palette[label].reshape(-1, 3).tolist()} <= shown
    assert (predictions != 255).any(-1).mean() > 0.5
    curves = np.asarray(Image.open(quick.root / 'curves.png').convert('RGB')).reshape(-1, 3)
    shown = {tuple(colour) for colour in np.unique(curves, axis=0).tolist()}
    assert {(0x6B, 0x72, 0x80), (0xD9, 0x77, 0x06), (0x25, 0x63, 0xEB)} <= shown


def test_seeds_share_the_first_runs(demo, quick, monkeypatch, capsys):
    """Seed 1 is not trained here: its runs are copies of seed 0's."""
    ran = []

    def copy(title, command, *args):
        ran.append(f'{title}: {name_of(command)}')
        folder = Path(command[command.index('--work-dir') + 1])
        shutil.copytree(str(folder).replace('seed_1', 'seed_0'), folder, dirs_exist_ok=True)
        if Path(command[0]).stem == 'train':
            assert 'randomness.seed=1' in command
            shutil.rmtree(folder / 'test')
            if folder.name == 'i2ckd':
                assert f'model.teacher_ckpt={quick.root}/seed_1/teacher/best.pth' in command

    monkeypatch.setattr(stages, 'run_process', copy)
    results = demo.main([*quick.argv, '--seeds', '2'])
    assert len(ran) == 6 and ran[0] == '[4/6] seed 1, train teacher: train teacher'
    alone = results['summary']['alone']
    assert (
        alone['seeds'] == [0, 1]
        and alone['mean'] == alone['values'][0] == alone['values'][1]
        and alone['std'] == 0
    )
    printed = capsys.readouterr().out
    assert 'seed 1' in printed.split('val mIoU')[-1]
    # a later call for one seed keeps the second
    assert demo.main(quick.argv)['summary'] == results['summary'] and len(ran) == 6


def test_only_one_demo_at_a_time(demo, tmp_path):
    with exclusive_folder(tmp_path), pytest.raises(ValueError, match='another demo is at work'):
        demo.main(['--quick', '--work-dir', str(tmp_path)])


def test_seeds_must_be_positive(demo, capsys):
    with pytest.raises(SystemExit):
        demo.parse_args(['--seeds', '0'])
    assert '--seeds: got 0' in capsys.readouterr().err
