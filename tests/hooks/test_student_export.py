"""Beside every full checkpoint the student alone, which needs nothing of this package."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from kd_methods.hooks import student_export
from kd_methods.hooks.saving import around_save
from kd_methods.hooks.student_export import student_name

HOOK = dict(type='StudentExportHook')
STOCK = Path(__file__).with_name('stock_mmseg.py')


def files(folder):
    """Names of the checkpoints in a folder."""
    return sorted(p.name for p in Path(folder).glob('*.pth'))


def load(path):
    """Read a file with no allow-list."""
    return torch.load(path, weights_only=True)


@pytest.fixture(scope='module')
def narrow(tiny_cfg):
    """The student's model dict: half the channels of the teacher."""
    from mmengine.config import ConfigDict

    model = tiny_cfg().model.to_dict()
    model['backbone'].update(stem_channels=4, base_channels=4, init_cfg=None)
    model['decode_head'].update(in_channels=32, channels=8)
    model['auxiliary_head'].update(in_channels=16, channels=4)
    return ConfigDict(model)


@pytest.fixture(scope='module')
def distilled(tiny_cfg, narrow, distill_model, runs, tmp_path_factory):
    """A short distillation run with EMA: its runner."""
    cfg = tiny_cfg(
        iters=4,
        model=distill_model(narrow),
        custom_hooks=[HOOK, dict(type='EMAHook', momentum=0.3), HOOK],
        custom_imports=dict(imports=['kd_methods'], allow_failed_imports=False),
    )
    cfg.default_hooks.checkpoint.update(save_best='mIoU')
    return runs.train(cfg, tmp_path_factory.mktemp('distilled'))


@pytest.fixture(scope='module')
def stock(distilled, tiny_scenes, tmp_path_factory):
    """What a process without this package makes of the exported student."""
    folder, out = Path(distilled.work_dir), tmp_path_factory.mktemp('stock')
    images = sorted(map(str, (tiny_scenes / 'val/images').glob('*.png')))
    files = [folder / 'student_config.py', folder / 'iter_4_student.pth']
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *map(str, [STOCK, *files, json.dumps(images), out])],
        capture_output=True,
        text=True,
        cwd=out,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), np.load(out / 'predictions.npz'), images


def test_stock_mmseg_runs_it(distilled, stock, segmentation_scope):
    """`mmseg.apis` loads config and weights, strictly, and predicts as the student here does."""
    from mmseg.apis import inference_model

    report, theirs, images = stock
    assert report['ours'] == [] and report['odd_keys'] == []
    assert report['meta']['classes'][0] == 'background' and len(report['meta']['palette']) == 11

    folder = Path(distilled.work_dir)
    student = copy.deepcopy(distilled.model.architecture)
    full = torch.load(folder / 'iter_4.pth', weights_only=False)['state_dict']
    prefix = 'architecture.'
    student.load_state_dict({k[len(prefix) :]: v for k, v in full.items() if k.startswith(prefix)})
    student.cfg = Config.fromfile(str(folder / 'student_config.py'))
    student.eval()
    ours = [inference_model(student, i) for i in images]
    for i, result in enumerate(ours):
        assert np.array_equal(theirs[f'arr_{i}'], result.pred_sem_seg.data.numpy())
        logits = theirs[f'arr_{len(ours) + i}']
        np.testing.assert_allclose(logits, result.seg_logits.data.numpy(), rtol=1e-5, atol=1e-6)


def test_stock_mmseg_tests_it(distilled, stock):
    """The plain config tests on the data set of the run, with the same figure."""
    assert stock[0]['mIoU'] == pytest.approx(distilled.message_hub.get_info('best_score'), abs=0)


def test_files_of_a_distillation(distilled):
    """What lies beside what, and what is in it."""
    folder = Path(distilled.work_dir)
    assert files(folder) == [
        'best.pth',
        'best_mIoU_iter_4.pth',
        'best_mIoU_iter_4_student.pth',
        'iter_2.pth',
        'iter_2_student.pth',
        'iter_4.pth',
        'iter_4_student.pth',
    ]
    full = torch.load(folder / 'iter_4.pth', weights_only=False)
    assert any('adapter' in k for k in full['state_dict'])
    student = load(folder / 'iter_4_student.pth')
    expected = {
        k[len('architecture.') :]: v for k, v in full['state_dict'].items() if k.startswith('architecture.')
    }
    assert student['state_dict'].keys() == expected.keys()
    assert all(torch.equal(student['state_dict'][k], v) for k, v in expected.items())
    assert student.keys() == {'meta', 'state_dict'}
    meta = student['meta']
    assert meta['iter'] == 4 and meta['mmseg_version'] and meta['mmengine_version']
    assert type(meta['dataset_meta']['classes']) is list
    assert load(folder / 'best.pth')['state_dict'].keys() == expected.keys()
    assert not list(folder.glob('*.tmp*')) and not list(folder.glob('.*.part'))


def test_ema_weights(distilled):
    """The student's file has the average, not the last weights."""
    student = load(Path(distilled.work_dir) / 'iter_4_student.pth')['state_dict']
    average = next(h for h in distilled.hooks if type(h).__name__ == 'EMAHook').ema_model.module
    name = 'decode_head.conv_seg.weight'
    last = distilled.model.architecture.state_dict()[name]
    assert torch.equal(student[name], average.architecture.state_dict()[name])
    assert not torch.equal(student[name], last)


def test_plain_config_of_a_distillation(distilled):
    """Nothing of this package, of the teacher or of the training is left."""
    path = Path(distilled.work_dir) / 'student_config.py'
    cfg = Config.fromfile(str(path))
    text = cfg.pretty_text
    for word in ('kd_methods', 'SceneDataset', 'teacher', 'distiller', 'mmrazor', 'optim'):
        assert word not in text
    assert cfg.model.type == 'EncoderDecoder' and cfg.model.backbone.base_channels == 4
    assert cfg.test_dataloader.dataset.type == 'BaseSegDataset'
    assert cfg.test_dataloader.dataset.img_suffix == '.png'
    assert 'iter_N' not in path.read_text() and 'best.pth' in path.read_text()


def test_old_files_go_together(tiny_cfg, runs, tmp_path):
    """A student goes with its full checkpoint, also in a resumed run; other files stay."""
    cfg = tiny_cfg(iters=6, custom_hooks=[HOOK])
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=2)
    runs.train(cfg, tmp_path, stop=3)
    assert files(tmp_path) == ['iter_2.pth', 'iter_2_student.pth', 'iter_3.pth', 'iter_3_student.pth']
    (tmp_path / 'iter_1_student.pth').write_bytes(b'kept by the user')
    runs.train(cfg, tmp_path, resume=True)
    assert files(tmp_path) == [
        'iter_1_student.pth',
        'iter_5.pth',
        'iter_5_student.pth',
        'iter_6.pth',
        'iter_6_student.pth',
    ]


def test_a_student_without_its_checkpoint_stays(tiny_cfg, runs, tmp_path):
    """Where the checkpoint hook keeps everything, a missing checkpoint was the user's wish."""

    class Delete(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, *args, **kwargs):
            (tmp_path / 'iter_2.pth').unlink(missing_ok=True)

    runs.train(tiny_cfg(iters=4, custom_hooks=[HOOK]), tmp_path, hooks=(Delete(),))
    assert files(tmp_path) == ['iter_2_student.pth', 'iter_4.pth', 'iter_4_student.pth']


def test_better_best(tiny_cfg, runs, tmp_path):
    """`best.pth` follows the best of the first metric, and the former best goes."""

    class Scores(Hook):
        """Gives the validations scores that are known."""

        priority = 'VERY_HIGH'
        scores = {1: (1.0, 9.0), 2: (3.0, 1.0), 3: (2.0, 10.0)}

        def after_val_epoch(self, runner, metrics):
            metrics['mIoU'], metrics['mAcc'] = self.scores[runner.iter]

    cfg = tiny_cfg(iters=3, custom_hooks=[HOOK])
    cfg.train_cfg.val_interval = 1
    cfg.default_hooks.checkpoint.update(interval=10, save_last=False, save_best=['mIoU', 'mAcc'])
    runs.train(cfg, tmp_path, hooks=(Scores(),))
    assert files(tmp_path) == [
        'best.pth',
        'best_mAcc_iter_3.pth',
        'best_mAcc_iter_3_student.pth',
        'best_mIoU_iter_2.pth',
        'best_mIoU_iter_2_student.pth',
    ]
    assert (tmp_path / 'best.pth').read_bytes() == (tmp_path / 'best_mIoU_iter_2_student.pth').read_bytes()
    # of a run without distillation: the whole model
    full = torch.load(tmp_path / 'best_mIoU_iter_2.pth', weights_only=False)['state_dict']
    assert load(tmp_path / 'best.pth')['state_dict'].keys() == full.keys()


def test_by_epoch_into_another_folder(tiny_cfg, runs, tmp_path):
    """`out_dir` and `filename_tmpl` of the checkpoint hook are followed."""
    cfg = tiny_cfg(custom_hooks=[HOOK])
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=1, out_dir=str(tmp_path / 'far'), filename_tmpl='e{}.pth'
    )
    runs.train(cfg, tmp_path / 'name')
    assert files(tmp_path / 'name') == []
    assert files(tmp_path / 'far' / 'name') == ['e1.pth', 'e1_student.pth']
    assert (tmp_path / 'far' / 'name' / 'student_config.py').is_file()
    assert load(tmp_path / 'far' / 'name' / 'e1_student.pth')['meta']['epoch'] == 1


@pytest.mark.parametrize('problem', ['', 'no module my_net'])
@pytest.mark.parametrize('verify', [True, False])
def test_the_end_of_training_says_whether_others_can_load_it(
    tiny_cfg, runs, tmp_path, monkeypatch, problem, verify
):
    """Once, with files that are there; `verify_export=False` leaves it out."""
    tried = []

    def loading_problem(*files):
        tried.append([Path(file).name for file in files if Path(file).is_file()])
        return problem

    monkeypatch.setattr(student_export, 'loading_problem', loading_problem)
    cfg = tiny_cfg(iters=4, custom_hooks=[HOOK], verify_export=verify)
    cfg.default_hooks.checkpoint.update(max_keep_ckpts=1)
    runner = runs.train(cfg, tmp_path)
    assert tried == [['student_config.py', 'iter_4_student.pth']] * verify
    log = next((tmp_path / runner.timestamp).glob('*.log')).read_text()
    assert ('cannot be loaded in a process without kd_methods: no module my_net' in log) == bool(
        verify and problem
    )
    assert ('loaded in a process without kd_methods.' in log) == bool(verify and not problem)


def test_a_wrong_switch_is_told_before_training(tiny_cfg, runs, tmp_path):
    with pytest.raises(TypeError, match='verify_export must be True or False'):
        runs.train(tiny_cfg(iters=2, custom_hooks=[HOOK], verify_export='no'), tmp_path)


def test_student_name():
    """Names with and without a suffix."""
    assert student_name('iter_8.pth') == 'iter_8_student.pth'
    assert student_name('best_mIoU_iter_8.pth') == 'best_mIoU_iter_8_student.pth'
    assert student_name('last') == 'last_student.pth'


def test_around_save():
    """Calls before and after, in order, with names and other arguments passed through."""
    calls = []

    class Runner:
        def save_checkpoint(self, out_dir, filename, file_client_args=None, meta=None, backend_args=None):
            calls.append((out_dir, filename, file_client_args, meta))

    runner = Runner()
    around_save(runner, lambda *a: calls.append(('before', *a)), lambda *a: calls.append(('after', *a)))
    runner.save_checkpoint('d', 'f.pth', None, meta=dict(iter=1))
    runner.save_checkpoint('d', filename='g.pth', backend_args=dict(backend='local'))
    assert calls == [
        ('before', 'd', 'f.pth'),
        ('d', 'f.pth', None, dict(iter=1)),
        ('after', 'd', 'f.pth', None),
        ('before', 'd', 'g.pth'),
        ('d', 'g.pth', None, None),
        ('after', 'd', 'g.pth', dict(backend='local')),
    ]
