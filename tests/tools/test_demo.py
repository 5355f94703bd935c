"""tools/demo.py: the whole flow on tiny sizes, interrupted and gone on with; what it leaves."""

import json
import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from demo_parts import comparison
from PIL import Image
from toys import load_tool

from kd_methods.experiments import processes, running
from kd_methods.experiments.summary import summarize
from kd_methods.scenes.dataset import SceneDataset
from kd_methods.utils.files import exclusive_folder

ARMS = ('teacher', 'alone', 'longer', 'logit_kd')


@pytest.fixture(scope='module')
def demo():
    return load_tool('demo')


def name_of(command: list) -> str:
    """`train teacher`, `test alone`, ... of a tool's command line."""
    tool, config = Path(command[0]), Path(command[1])  # .../runs/ARM/seed_N.py
    return f'{tool.stem} {config.parent.name}' + (' (resumed)' if '--resume' in command else '')


@pytest.fixture(scope='module')
def quick(demo, tmp_path_factory) -> SimpleNamespace:
    """The quick demo, stopped in the middle of the second training, then called again."""
    root = tmp_path_factory.mktemp('demo')
    argv = ['--quick', '--work-dir', str(root), '--threads', '1']
    calls: list[list[str]] = [[]]

    class Recorded(running.Process):
        def __init__(self, command, *args, **kwargs) -> None:
            calls[-1].append(name_of(command))
            self.stopped = len(calls) == 1 and calls[-1][-1] == 'train alone'
            # as far as the first checkpoint
            shorter = ['--cfg-options', 'train_cfg.max_iters=2'] * self.stopped
            super().__init__([*command, *shorter], *args, **kwargs)

        def code(self) -> int | None:
            code = super().code()
            if code is not None and self.stopped:
                raise KeyboardInterrupt
            return code

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, 'Process', Recorded)
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
    later = [f'{kind} {arm}' for arm in ARMS[2:] for kind in ('train', 'test')]
    assert quick.calls[1] == ['train alone (resumed)', 'test alone', *later]
    assert quick.calls[2] == [] and quick.again == quick.results
    said = (quick.root / 'runs' / 'alone' / 'seed_0' / 'output.txt').read_text()
    assert re.search(r'Resumed from .*iter_2.pth', said) and 'Iter(train) [3/4]' in said


def test_results_are_those_of_the_tests(quick):
    results = json.loads((quick.root / 'results.json').read_text())
    assert [(run['arm'], run['seed']) for run in results['runs']] == [(arm, 0) for arm in ARMS]
    for run in results['runs']:
        folder = quick.root / 'runs' / run['arm'] / 'seed_0'
        tested = json.loads((folder / 'test' / 'test_best.json').read_text())
        assert run['metrics'] == tested['metrics'] and Path(tested['checkpoint']) == folder / 'best.pth'
        assert run['seconds_per_iteration'] > 0
        assert run['length'] == (8 if run['arm'] == 'longer' else 4)
        assert results['summary'][run['arm']]['mean'] == run['metrics']['mIoU']
    arms = results['arms']
    assert arms['alone']['parameters'] == arms['logit_kd']['parameters'] < arms['teacher']['parameters']
    assert arms['alone']['flops'] == arms['logit_kd']['flops'] < arms['teacher']['flops']
    rows = (quick.root / 'results.md').read_text().splitlines()
    assert len(rows) == 6 and rows[5].startswith('| student with logit KD |')


def test_student_is_taught_by_the_teacher_that_was_trained(quick):
    said = (quick.root / 'runs' / 'logit_kd' / 'seed_0.py').read_text()
    assert f"teacher_ckpt='{quick.root}/runs/teacher/seed_0/best.pth'" in re.sub(r'=\s+', '=', said)


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

    class Copied(running.Process):
        def __init__(self, command, *args, **kwargs) -> None:
            name = name_of(command)
            kind, _, arm = name.partition(' ')
            ran.append(name)
            super().__init__(['-c', ''], *args, **kwargs)
            folder = quick.root / 'runs' / arm / 'seed_1'
            assert Path(command[1]) == folder.with_suffix('.py')
            part = '.' if kind == 'train' else 'test'
            ignore = shutil.ignore_patterns('test', 'run.json', 'output.txt')
            shutil.copytree(
                folder.with_name('seed_0') / part, folder / part, ignore=ignore, dirs_exist_ok=True
            )

    monkeypatch.setattr(running, 'Process', Copied)
    results = demo.main([*quick.argv, '--seeds', '2'])
    assert ran == [f'{kind} {arm}' for arm in ARMS for kind in ('train', 'test')]
    taught = (quick.root / 'runs' / 'logit_kd' / 'seed_1.py').read_text()
    assert f'{quick.root}/runs/teacher/seed_1/best.pth' in taught
    alone = results['summary']['alone']
    assert alone['mean'] == alone['values'][0] == alone['values'][1] and alone['std'] == 0
    assert 'seed 1' in capsys.readouterr().out.split('val mIoU')[-1]
    # a later call for one seed keeps the second
    assert demo.main(quick.argv)['summary'] == results['summary'] and len(ran) == 2 * len(ARMS)


def test_other_scenes_are_other_runs(demo, quick, tmp_path, monkeypatch):
    """Also where they are in the same folder."""
    scenes = quick.results['scenes']
    made = []
    for record in (scenes, dict(scenes, seed=5)):
        monkeypatch.setattr(comparison.Demo, 'write_scenes', lambda self, record=record: record)
        args = demo.parse_args([*quick.argv, '--data', str(quick.root / 'scenes')])
        made.append(comparison.Demo(args, quick.root, 0).trials(0))
    assert [trial.is_done() for trial in made[0]] == [True] * len(ARMS)
    assert [trial.is_done() for trial in made[1]] == [False] * len(ARMS)


def test_a_failure_is_told(demo, quick, monkeypatch):
    monkeypatch.setattr(comparison, 'run_trials', lambda *_, **__: {'alone, seed 0': 'broke'})
    with pytest.raises(ValueError, match='alone, seed 0: broke'):
        demo.main(quick.argv)


def test_tables():
    arms = dict(alone=dict(title='student alone', parameters=957027, flops=145e6))
    runs = [
        dict(arm='alone', seed=s, metrics=dict(mIoU=v), seconds_per_iteration=0.1234, length=700)
        for s, v in ((0, 30.0), (1, 36.0))
    ]
    rows = comparison.costs(dict(scenes=dict(size=96), arms=arms, runs=runs))
    assert rows == [
        ['network', 'val mIoU', 'parameters', 'multiply-adds (96 x 96)', 's/iter in training', 'iterations'],
        ['student alone', '30.0', '0.96 M', '145 M', '0.123', '700'],
    ]
    assert comparison.over_seeds(summarize(runs, 'mIoU')) == [
        ['val mIoU', 'seed 0', 'seed 1', 'mean', 'standard deviation'],
        ['student alone', '30.0', '36.0', '33.0', '4.2'],
    ]


def test_only_one_demo_at_a_time(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, 'waiting_for', partial(processes.waiting_for, patience=0.1))
    with exclusive_folder(tmp_path), pytest.raises(ValueError, match='another demo is at work'):
        demo.main(['--quick', '--work-dir', str(tmp_path)])


def test_seeds_must_be_positive(demo, capsys):
    with pytest.raises(SystemExit):
        demo.parse_args(['--seeds', '0'])
    assert '--seeds: got 0' in capsys.readouterr().err
