"""The benchmarks run, compare what they say they compare, and print it. No times are asserted."""

import importlib
import json
import re
import sys

import pytest
import torch
from toys import ROOT


@pytest.fixture
def load(monkeypatch):
    """A benchmark as a module, which finds the modules beside it as a script does."""
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    yield importlib.import_module
    for path in (ROOT / 'benchmarks').glob('*.py'):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def step(load):
    """benchmarks/step.py."""
    return load('step')


SEGMENTORS = 'configs/c2vkd/c2vkd_deeplabv3plus_r18_segformer_mit-e16_scenes.py'
RGBX = 'configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py'
RECIPE = 'mmrazor::distill/mmseg/cwd/cwd_logits_pspnet_r101-d8_pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
SMALL = '--size 32 32 --batch 2 --steps 2 --warmup 1 --no-memory'.split()


def table(printed: str) -> dict[str, tuple[float, float]]:
    """Milliseconds and share of the step of each row."""
    rows = re.findall(r'^\| (\S.*?) +\| (\d+\.\d) +\| \d+\.\d - \d+\.\d +\| (\d+\.\d\d)', printed, re.M)
    return {name: (float(ms), float(share)) for name, ms, share in rows}


@pytest.mark.parametrize(
    ('config', 'losses'),
    [
        (SEGMENTORS, ['loss_vlfd', 'loss_pdd']),
        (RGBX, ['loss_dwld', 'loss_arfd_0', 'loss_arfd_1', 'loss_arfd_2']),
    ],
    ids=['segmentors', 'rgbx'],
)
def test_step(step, config, losses, capsys, tmp_path):
    """A row for each part, the ratio of the step to its floor, and all figures as JSON."""
    (found,) = step.main([config, *SMALL, '--json', str(tmp_path / 'step.json')])
    printed = capsys.readouterr().out
    rows = table(printed)
    assert list(rows) == ['student', 'teacher', 'step', *losses]
    assert rows['step'][1] == 1 and rows['student'][0] > 0
    seconds = found['seconds']
    assert all(len(values) == 2 for values in seconds.values())
    each = [t / (s + f) for t, s, f in zip(seconds['step'], seconds['student'], seconds['teacher'])]
    assert found['ratio'] == pytest.approx(sum(each) / 2)
    assert f'step / floor: {found["ratio"]:.3f} (' in printed
    written = json.loads((tmp_path / 'step.json').read_text())
    assert written['runs'] == [json.loads(json.dumps(found))]
    assert written['versions']['torch'] == torch.__version__ and written['threads'] > 0


def test_step_of_a_recipe(step, capsys):
    """A distiller of MMRazor is timed under its own algorithm too, with the same weights and batch."""
    options = [
        '--cfg-options',
        'model.teacher.backbone.depth=18',
        'model.teacher.decode_head.in_channels=512',
    ]
    options += ['model.teacher.auxiliary_head.in_channels=256']
    (found,) = step.main([RECIPE, *SMALL, *options])
    rows = table(capsys.readouterr().out)
    assert list(rows) == ['student', 'teacher', 'step', 'loss_cwd', 'mmrazor', "mmrazor's teacher"]
    assert found['mmrazor_ratio'] > 0 and found['mmrazor_teacher_ratio'] > 0


def test_steps_of_both_algorithms_are_the_same(step):
    """What is compared is one recipe: the losses of the first step agree."""
    args = step.parse_args([RECIPE, *SMALL])
    args.cfg_options = {
        'model.teacher.backbone.depth': 18,
        'model.teacher.decode_head.in_channels': 512,
        'model.teacher.auxiliary_head.in_channels': 256,
    }
    bench = step.Bench(RECIPE, args)
    ways = bench.ways()
    for model in (bench.model.student, bench.theirs.student):
        model.load_state_dict(bench.model.student.state_dict())
        model.eval()  # no dropout, no batch statistics
    bench.theirs.teacher.eval()
    data = bench.model.data_preprocessor(bench.batch(), True)
    ours, theirs = (model(**data, mode='loss') for model in (bench.model, bench.theirs))
    torch.testing.assert_close(ours['distill.loss_cwd'], theirs['distill.loss_cwd'])
    assert set(ways) > {'mmrazor'}


def test_one_loss_leaves_the_networks_alone(step):
    """Its backward pass ends at the records: no parameter of the student gets a gradient."""
    bench = step.Bench(SEGMENTORS, step.parse_args([SEGMENTORS, *SMALL]))
    ways = bench.ways()
    for name in ('loss_vlfd', 'loss_pdd'):
        ways[name]()
    assert all(p.grad is None for p in bench.model.student.parameters())
    assert any(p.grad is not None for p in bench.model.distiller.parameters())


def test_growth(load, capsys, monkeypatch, tmp_path):
    """Each loss along each axis, the exponents of its cost, a picture."""
    growth = load('growth')
    monkeypatch.setattr(growth, 'BASE', dict(classes=3, tokens=16, channels=4, images=1))
    monkeypatch.setattr(growth, 'AXES', dict(classes=(3, 5), tokens=(16, 36), channels=(4, 8), images=(1, 2)))
    files = '--json', str(tmp_path / 'g.json'), '--plot', str(tmp_path / 'g.png')
    found = growth.main(['--repeats', '1', '--threads', '1', *files])
    assert len(found) == len(growth.LOSSES) * 4 and (tmp_path / 'g.png').stat().st_size > 10_000
    assert json.loads((tmp_path / 'g.json').read_text()) == json.loads(json.dumps(found))
    rows = re.findall(
        r'^\| (\S.*?) \| [\d.]+ \| [\d.]+ \|(?: -?[\d.]+, -?[\d.]+ \|){4}$', capsys.readouterr().out, re.M
    )
    assert rows == list(growth.LOSSES)


def test_exponents(load):
    exponent = load('growth').exponent
    assert exponent((1, 2, 4, 8), [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2)
    assert exponent((16, 150), [0.5, 0.5]) == pytest.approx(0)


def test_peak_of_a_call(load):
    """Nearly what the call holds at one time."""
    peak = load('common').peak_of(lambda: torch.ones(4_000_000).add_(1).sum())
    assert 0.9 * 16e6 < peak < 2 * 16e6


def test_data_check(load, capsys):
    """Pairs a second of both ways, and the ratio that is returned, which is theirs."""
    ratio = load('data_check').main('--pairs 9 --size 16 32 --repeats 1 --workers 1'.split())
    printed = capsys.readouterr().out
    assert re.match(r'9 pairs of 16 x 32, \d\.\d\d MB an image, 1 process\(es\), median of 1 ', printed)
    bare, ours = re.findall(
        r'^ *(?:bare decode|check): +(\d+\.\d) pairs/s \(\d+\.\d - \d+\.\d\)$', printed, re.M
    )
    assert f'the check takes {ratio:.2f} times as long' in printed
    assert ratio == pytest.approx(float(bare) / float(ours), rel=0.02)
