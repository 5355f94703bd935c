"""The benchmarks run, compare what they say they compare, and print it. No times are asserted."""

import importlib
import re
import sys

import pytest
import torch
from toys import ROOT

ROW = r'^  {} +(\d+\.\d{{3}}) s  \(\d+\.\d{{3}} - \d+\.\d{{3}}\)\n'
STEPS = (
    ROW.format('FrozenTeacherDistill')
    + ROW.format(r'mmrazor\.SingleTeacherDistill')
    + r'  ratio (\d+\.\d\d)\n'
)
TEACHERS = ROW.format('up to its last tap') + ROW.format("mode='loss'") + r'  ratio \d+\.\d\d\n'


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


@pytest.fixture
def small_cascade(step, monkeypatch):
    """The detectors with few proposals and a small head; the teacher's depth is that of the config."""
    pair = step.PAIRS['cascade']

    def recipe(*args):
        model = pair.recipe(*args)
        for network in (model.architecture, model.teacher):
            for cfg in (network.train_cfg.rpn_proposal, network.test_cfg.rpn):
                cfg.update(nms_pre=20, max_per_img=20)
            heads = network.roi_head.bbox_head
            for head in heads if isinstance(heads, list) else [heads]:
                head.fc_out_channels = 16
        return model

    monkeypatch.setitem(step.PAIRS, 'cascade', pair._replace(recipe=recipe))


def check_steps(printed: str, ratio: float) -> None:
    """Both rows, and the ratio that was returned, which is theirs."""
    ours, theirs, shown = map(float, re.search(STEPS, printed, re.M).groups())
    assert ours > 0 and theirs > 0
    assert shown == pytest.approx(ratio, abs=0.006)
    assert ratio == pytest.approx(ours / theirs, rel=0.001 / min(ours, theirs) + 1e-6)


def test_step_pspnet(step, capsys):
    """PSPNet is the default, without the part on the teacher."""
    ratio = step.main(['--size', '32', '--repeats', '1'])
    printed = capsys.readouterr().out
    assert re.search(
        '^CWD recipe, PSPNet R50 -> R18, 2 x 32 x 32, .* median of 1 alternating steps$', printed, re.M
    )
    check_steps(printed, ratio)
    assert 'teacher' not in printed


def test_step_cascade(step, small_cascade, capsys, monkeypatch):
    """Under ours no head of the teacher runs; under theirs all of them do, on boxes and masks."""
    from mmdet.models import CascadeRoIHead

    results = {name: [] for name in ('loss', 'forward')}

    def watch(name):
        whole = getattr(CascadeRoIHead, name)

        def call(*args):
            results[name].append(whole(*args))
            return results[name][-1]

        monkeypatch.setattr(CascadeRoIHead, name, call)

    watch('loss')
    watch('forward')
    ratio = step.main(['--pair', 'cascade', '--size', '64', '--batch', '1', '--repeats', '1'])
    printed = capsys.readouterr().out
    assert re.search(
        '^CWD on necks, Cascade Mask R-CNN R50 -> Faster R-CNN R50, 1 x 64 x 64, ', printed, re.M
    )
    check_steps(printed, ratio)
    assert re.search(TEACHERS, printed, re.M)
    rounds = 1 + 2  # two to warm up
    assert len(results['loss']) == 2 * rounds  # theirs: in training steps, and of the teacher alone
    assert all(float(found['s2.loss_mask']) > 0 for found in results['loss'])
    assert not results['forward']  # ours: not even in the dry run, which ends at the proposals


def test_same_weights(step, small_cascade):
    """Both algorithms begin with the same student and teacher, and compare the same five levels."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmdet'), pytest.warns(UserWarning, match='teacher_ckpt'):
        ours, theirs = step.build(step.PAIRS['cascade'].recipe('50', 64), torch.device('cpu')).values()
    assert type(ours).__name__ == 'FrozenTeacherDistill' and type(theirs).__name__ == 'SingleTeacherDistill'
    for first, second in ((ours.student, theirs.student), (ours.teacher.model, theirs.teacher)):
        assert first is not second
        torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert ours.distiller.loss_forward_mappings == theirs.distiller.loss_forward_mappings
    assert len(ours.distiller.distill_losses) == 5


def test_cascade_batch(step):
    """Masks fill their boxes, boxes lie in their images, and a seed gives the same again."""
    batches = [step.cascade_batch(2, 96, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    for sample in batches[0]['data_samples']:
        instances = sample.gt_instances
        assert 4 <= len(instances) <= 10 and instances.masks.masks.shape == (len(instances), 96, 96)
        assert instances.bboxes.min() >= 0 and instances.bboxes.max() <= 96
        around = instances.masks.get_bboxes('hbox').tensor
        assert (around - instances.bboxes).abs().max() <= 2
    same, other = (
        all(torch.equal(a, b) for a, b in zip(batches[0]['inputs'], batch['inputs'])) for batch in batches[1:]
    )
    assert same and not other
    first, second = (batch['data_samples'][1].gt_instances for batch in batches[:2])
    assert torch.equal(first.bboxes, second.bboxes) and (first.masks.masks == second.masks.masks).all()


def test_wrong_depth(step, capsys):
    """ResNeXt is for the detectors alone."""
    with pytest.raises(SystemExit):
        step.main(['--teacher-depth', 'x101'])
    assert 'pspnet has 50 and 101' in capsys.readouterr().err


def test_losses(load, capsys, monkeypatch):
    """The benchmarks of single losses, which use the same clock."""
    arguments = '--classes 5 --batch 2 --channels 8 --repeats 1 --size'.split()
    load('i2ckd').main([*arguments, '8', '8', '--pairs'])
    printed = capsys.readouterr().out
    row = r'^ *(\w+.\w+|\w+): +\d+ ms +\(\d+ - \d+\)   x \d+\.\d$'
    assert re.findall(row, printed, re.M) == ['vectorised', 'class loop', 'pair loop']
    assert printed.endswith('value and gradient agree\n')
    monkeypatch.setattr(load('common'), 'peak_memory', lambda *args: 2**20)  # without a process for each way
    load('c2vkd').main([*arguments, '4'])
    printed = capsys.readouterr().out
    row = r'^ *(\S.*?) +\d+ \(\d+ - \d+\) +\d+\.\d\d +1 +1\.00$'
    assert re.findall(row, printed, re.M) == ['factored', 'dense', 'at label', 'at logits', 'cross-entropy']
    assert 'value and gradient agree\n' in printed
    load('bcd').main('--batch 2 --channels 8 --repeats 1 --height 4 --width 6'.split())
    printed = capsys.readouterr().out
    assert re.findall(row, printed, re.M) == ['blocks', 'dense', 'here', 'autograd']
    assert printed.count('value and gradient agree\n') == 2


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
