"""A distilled vision transformer leaves as a plain one: stock mmseg loads, tests and uses it without this package."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import ROOT

STOCK = ROOT / 'tests/hooks/stock_mmseg.py'
CONFIGS = ('c2vkd/c2vkd_deeplabv3plus_r18_segformer_mit-e16_scenes.py',
           'c2vkd/c2vkd-paper_deeplabv3plus_r18_segformer_mit-e16_scenes.py')


@pytest.fixture(scope='module')
def scenes_options(tiny_scenes, tmp_path_factory):
    """Overrides of a config for the sign scenes: four iterations on tiny scenes, with the weights of an untrained teacher."""
    import kd_methods  # noqa: F401
    from kd_methods.core.networks import build_network
    teacher = build_network(dict(cfg_path='configs/baselines/deeplabv3plus_r18_scenes.py', _scope_='mmseg'))
    file = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save(dict(state_dict=teacher.state_dict()), file)
    return ['train_cfg.max_iters=4', 'train_cfg.val_interval=4', 'train_dataloader.batch_size=2', f'model.teacher_ckpt={file}',
            *(f'{split}_dataloader.dataset.data_root={tiny_scenes}' for split in ('train', 'val', 'test'))]


@pytest.fixture(scope='module', params=CONFIGS, ids=lambda name: Path(name).stem.split('_')[0])
def run(request, tools, scenes_options, tmp_path_factory):
    """Work dir of a short run of a shipped config."""
    folder = tmp_path_factory.mktemp('work')
    tools.train([str(ROOT / 'configs' / request.param), '--work-dir', str(folder), '--cfg-options', *scenes_options])
    return folder


def test_the_student_is_a_plain_segformer(run, tiny_scenes, tmp_path):
    images = sorted(map(str, (tiny_scenes / 'val/images').glob('*.png')))
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run([sys.executable, '-W', 'ignore', STOCK, run / 'student_config.py', run / 'best.pth',
                           json.dumps(images), tmp_path], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report['ours'] == [] and report['odd_keys'] == []
    assert len(report['meta']['classes']) == 11


def test_adapters_are_in_the_full_checkpoint_alone(run):
    full = torch.load(run / 'iter_4.pth', weights_only=False)['state_dict']
    student = torch.load(run / 'iter_4_student.pth', weights_only=True)['state_dict']
    assert {'distiller.distill_losses.loss_vlfd.adapter.weight'} < {k for k in full if not k.startswith('architecture.')}
    assert set(student) == {k.removeprefix('architecture.') for k in full if k.startswith('architecture.')}
    assert {k.split('.')[0] for k in student} == {'backbone', 'decode_head'}
