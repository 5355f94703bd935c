"""A distilled vision transformer leaves as a plain one: stock mmseg uses it without this package."""

from pathlib import Path

import pytest
import torch
from toys import ROOT, stock_report

CONFIGS = (
    'c2vkd/c2vkd_deeplabv3plus_r18_segformer_mit-e16_scenes.py',
    'c2vkd/c2vkd-paper_deeplabv3plus_r18_segformer_mit-e16_scenes.py',
)


@pytest.fixture(scope='module')
def scenes_options(tiny_scenes, tmp_path_factory):
    """Overrides of a config: four iterations on tiny scenes, with the weights of an untrained teacher."""
    import kd_methods  # noqa: F401
    from kd_methods.networks.config import build_network

    teacher = build_network(dict(cfg_path='configs/baselines/deeplabv3plus_r18_scenes.py', _scope_='mmseg'))
    file = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save(dict(state_dict=teacher.state_dict()), file)
    return [
        'train_cfg.max_iters=4',
        'train_cfg.val_interval=4',
        'train_dataloader.batch_size=2',
        f'model.teacher_ckpt={file}',
        *(f'{split}_dataloader.dataset.data_root={tiny_scenes}' for split in ('train', 'val', 'test')),
    ]


@pytest.fixture(scope='module', params=CONFIGS, ids=lambda name: Path(name).stem.split('_')[0])
def run(request, tools, scenes_options, tmp_path_factory):
    """Work dir of a short run of a shipped config."""
    folder = tmp_path_factory.mktemp('work')
    tools.train(
        [str(ROOT / 'configs' / request.param), '--work-dir', str(folder), '--cfg-options', *scenes_options]
    )
    return folder


def test_the_student_is_a_plain_segformer(run, tiny_scenes, tmp_path):
    report = stock_report(run, (tiny_scenes / 'val/images').glob('*.png'), tmp_path)
    assert report['ours'] == [] and report['odd_keys'] == []
    assert len(report['meta']['classes']) == 11


def test_adapters_are_in_the_full_checkpoint_alone(run):
    full = torch.load(run / 'iter_4.pth', weights_only=False)['state_dict']
    student = torch.load(run / 'iter_4_student.pth', weights_only=True)['state_dict']
    assert {'distiller.distill_losses.loss_vlfd.adapter.weight'} < {
        k for k in full if not k.startswith('architecture.')
    }
    assert set(student) == {k.removeprefix('architecture.') for k in full if k.startswith('architecture.')}
    assert {k.split('.')[0] for k in student} == {'backbone', 'decode_head'}
