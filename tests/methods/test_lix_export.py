"""A student taught by an RGB-X teacher leaves without a trace of X: stock mmseg uses it on RGB images."""

import pytest
import torch
from toys import ROOT, SIZE, stock_report

CONFIG = ROOT / 'configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py'
NO_PRETRAINING = 'model.architecture.init_cfg=None'
TEACHER = ROOT / 'configs/baselines/pspnet_duplex-r18-w16_scenesrgbd.py'


def arguments(config, folder, options, *checkpoint):
    return [str(config), *map(str, checkpoint), '--work-dir', str(folder), '--cfg-options', *options]


@pytest.fixture(scope='module')
def rgbd(tmp_path_factory):
    from kd_methods.scenes.writer import write_scenes

    out = tmp_path_factory.mktemp('data') / 'rgbd'
    write_scenes(out, train=8, val=4, size=SIZE, camouflage=0.5, depth=True, workers=1)
    return out


@pytest.fixture(scope='module')
def options(rgbd):
    return [
        'train_cfg.max_iters=3',
        'train_cfg.val_interval=3',
        'train_dataloader.batch_size=2',
        *(f'{split}_dataloader.dataset.data_root={rgbd}' for split in ('train', 'val', 'test')),
    ]


@pytest.fixture(scope='module')
def teacher(tools, options, tmp_path_factory):
    """Work dir of an RGB-D teacher, trained like any other model."""
    folder = tmp_path_factory.mktemp('teacher')
    tools.train(arguments(TEACHER, folder, [*options, 'model.backbone.rgb.init_cfg=None']))
    return folder


@pytest.fixture(scope='module')
def run(tools, options, teacher, tmp_path_factory):
    """Work dir of the distillation."""
    folder = tmp_path_factory.mktemp('work')
    checkpoint = f'model.teacher_ckpt={teacher}/best.pth'
    tools.train(arguments(CONFIG, folder, [*options, checkpoint, NO_PRETRAINING]))
    return folder


def test_the_teacher_is_tested_like_any_model(tools, options, teacher, tmp_path):
    tools.test(arguments(TEACHER, tmp_path, options, teacher / 'best.pth'))


def test_the_teacher_predicts_single_images_as_the_docs_say(teacher, rgbd):
    text = (ROOT / 'docs/rgbx.md').read_text()
    code = next(block for block in text.split('```python')[1:] if 'pseudo_collate' in block).split('```')[0]
    code = code.replace("'a.png'", repr(str(rgbd / 'val/images/00000.png')))
    code = code.replace("'a_depth.png'", repr(str(rgbd / 'val/depths/00000.png')))
    config = teacher / 'pspnet_duplex-r18-w16_scenesrgbd.py'
    found = dict(CONFIG=str(config), CHECKPOINT=str(teacher / 'best.pth'))
    exec(code, found)
    assert found['result'].pred_sem_seg.shape == (SIZE, SIZE)


def test_the_student_is_a_plain_network_of_rgb(run, rgbd, tmp_path):
    report = stock_report(run, (rgbd / 'val/images').glob('*.png'), tmp_path)
    assert report['ours'] == [] and report['odd_keys'] == []


def test_no_trace_of_x_is_left(run):
    text = (run / 'student_config.py').read_text()
    assert not any(word in text for word in ('x_path', 'RGBX', 'LoadX', 'Duplex', 'kd_methods', 'depths'))
    weights = torch.load(run / 'best.pth', weights_only=True)['state_dict']
    assert weights['backbone.stem.0.weight'].shape[1] == 3
    assert not any(key.startswith(('backbone.x', 'backbone.rgb')) for key in weights)


def test_tools_test_takes_the_distillation_config_without_x(tools, run, options, tmp_path):
    tools.test(arguments(CONFIG, tmp_path, [*options, NO_PRETRAINING], run / 'best.pth'))
