"""Configs of the installed packages are found without pip, and nothing is printed."""

import contextlib
import multiprocessing
import subprocess
import sys

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.hub import get_config
from mmengine.registry import HOOKS
from mmengine.utils import package_utils
from toys import tiny_model, tiny_run, write_config

import kd_methods  # noqa: F401

PSPNET = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'


@pytest.fixture
def no_pip(monkeypatch):
    """Any process that is started is an error."""

    def refuse(*args, **kwargs):
        raise AssertionError(f'a process was started: {args}')

    monkeypatch.setattr(subprocess, 'Popen', refuse)
    monkeypatch.setattr(package_utils, 'call_command', refuse)


def test_without_the_cure_mmengine_would_run_pip(no_pip, monkeypatch):
    """Else the tests below prove nothing."""
    from mmengine.config.utils import MODULE2PACKAGE

    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
    with pytest.raises(AssertionError, match='a process was started'):
        get_config(PSPNET)


def test_get_config(no_pip):
    assert get_config(PSPNET).model.backbone.depth == 18
    detector = get_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py')
    assert detector.model.type == 'RetinaNet'


def test_base_of_a_package(no_pip, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = ['{PSPNET}']\nmodel = dict(decode_head=dict(num_classes=5))\n")
    model = Config.fromfile(config).model
    assert (model.type, model.decode_head.num_classes) == ('EncoderDecoder', 5)
    config.write_text("_base_ = ['mmdet::_base_/schedules/schedule_1x.py']\n")
    assert Config.fromfile(config).train_cfg.max_epochs == 12


def test_cfg_path_of_an_architecture(no_pip):
    from mmrazor.registry import MODELS  # this is how MMRazor's algorithms build their networks

    model = MODELS.build(dict(cfg_path=PSPNET, pretrained=False))
    assert type(model).__module__.startswith('mmseg.')


def test_torchvision_weights_are_found_without_torchvision(monkeypatch, tmp_path):
    """mmdet's backbones start from them; only the fetching itself is replaced here."""
    import torch
    from mmengine.registry import MODELS
    from mmengine.runner import checkpoint

    from kd_methods.compat.engine import find_torchvision_weights

    monkeypatch.setattr(checkpoint, 'get_torchvision_models', None)  # to be put back afterwards
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    find_torchvision_weights()
    fetched = []

    def load_url(url, **kwargs):
        fetched.append(url)
        return {name: torch.full_like(value, 0.5) for name, value in backbone.state_dict().items()}

    monkeypatch.setattr(checkpoint, 'load_url', load_url)
    cfg = get_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py').model.backbone
    backbone = MODELS.build(dict(cfg, _scope_='mmdet'))
    assert backbone.init_cfg['checkpoint'] == 'torchvision://resnet18'
    backbone.init_weights()
    assert fetched and fetched[0].endswith('resnet18-f37072fd.pth')
    assert (backbone.conv1.weight == 0.5).all()
    with pytest.raises(
        KeyError, match="torchvision://resnet50.imagenet1k_v2: without torchvision only .*'resnet50'"
    ):
        checkpoint.load_from_torchvision('torchvision://resnet50.imagenet1k_v2')


def test_imports_print_nothing(request):
    """Neither `import kd_methods` nor the lazy imports of mmseg and mmdet that a run makes."""
    code = (
        'import kd_methods, sys\n'
        'assert not {"mmseg.models", "mmdet.models"} & set(sys.modules), "slow import"\n'
        'from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS, VISUALIZERS\n'
        'for package, dataset in (("mmseg", "CityscapesDataset"), ("mmdet", "CocoDataset")):\n'
        '    assert DATASETS.get(f"{package}.{dataset}")\n'
        '    assert TRANSFORMS.get(f"{package}.LoadAnnotations")\n'
        '    assert MODELS.get(f"{package}.ResNet")\n'
        'assert METRICS.get("mmseg.IoUMetric") and VISUALIZERS.get("mmdet.DetLocalVisualizer")\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=request.config.rootpath, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_other_messages_still_appear(capsys):
    from mmengine.logging import print_log

    print_log('Could not import OneDL. Skipping OneDL datasets.')
    print_log('something else', logger=None, level=10)
    assert capsys.readouterr().out == 'something else\n'


@pytest.mark.parametrize('fails', [True, False])
def test_no_worker_outlives_a_training(fails, tmp_path, tiny_scenes, tools):
    @HOOKS.register_module(force=True)
    class FailingHook(Hook):
        def after_train_iter(self, runner, **kwargs):
            if fails:
                raise RuntimeError('stop here')

    cfg = dict(tiny_run(tiny_scenes, 4), model=tiny_model(4), custom_hooks=[dict(type='FailingHook')])
    cfg['train_dataloader'].update(num_workers=2, persistent_workers=True)
    arguments = [str(write_config(tmp_path / 'config.py', cfg)), '--work-dir', str(tmp_path / 'work')]
    with pytest.raises(RuntimeError, match='stop here') if fails else contextlib.nullcontext():
        tools.train(arguments)
    assert not multiprocessing.active_children()
