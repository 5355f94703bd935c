"""Packages of OpenMMLab that a config needs and that are not installed are named before anything is built."""

import importlib.util

import pytest
from mmengine.config import Config
from toys import tiny_model

from kd_methods.compat.family import check_installed, lacking
from kd_methods.engine.config_values import check_values
from kd_methods.networks.config import build_network, load_config, resolve_model_cfg

CONVNEXT = 'mmseg::convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py'
NEEDS = r'needs mmpretrain, which is not installed and not among the supported packages \(mmengine, mmcv, '
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('mmpretrain') is not None, reason='mmpretrain is installed'
)


def test_what_is_lacking():
    assert lacking('mmpretrain.ConvNeXt') == lacking("No module named 'mmpretrain'") == 'mmpretrain'
    assert lacking('mmseg.ResNetV1c') == lacking('my_models.ConvNeXt') == lacking('ResNet') == ''


def test_a_config_of_a_package_that_imports_another():
    with pytest.raises(ValueError, match=f'^model.teacher.cfg_path: {CONVNEXT!r} {NEEDS}') as caught:
        resolve_model_cfg(dict(cfg_path=CONVNEXT), 'model.teacher')
    assert 'sys.path' not in str(caught.value)


def test_a_config_of_a_package_that_is_not_there_installs_nothing(monkeypatch):
    def install(package):
        raise AssertionError(f'{package} would be installed')

    monkeypatch.setattr('mmengine.hub.hub.install_package', install)
    with pytest.raises(ValueError, match=NEEDS):
        load_config('mmpretrain::resnet/resnet18_8xb16_cifar10.py')
    with pytest.raises(ValueError, match='needs my_package, which is not installed'):
        load_config('my_package::net.py')


def test_a_base_of_such_a_package(tmp_path):
    path = tmp_path / 'net.py'
    path.write_text("_base_ = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'\n")
    with pytest.raises(ValueError, match=NEEDS):
        load_config(path)


def test_a_module_of_ones_own_that_cannot_be_imported(tmp_path):
    path = tmp_path / 'net.py'
    path.write_text("custom_imports = dict(imports=['my_modls'], allow_failed_imports=False)\n")
    with pytest.raises(
        ValueError, match=r"\(No module named 'my_modls'\). Correct its custom_imports, or put"
    ):
        load_config(path)


@pytest.mark.parametrize(
    'change',
    [
        dict(type='mmpretrain.ResNet'),
        dict(_scope_='mmpretrain'),
        dict(init_cfg=[dict(type='mmpretrain.Init')]),
    ],
    ids=['type', 'scope', 'list'],
)
def test_types_and_scopes_anywhere_in_a_network(change):
    model = tiny_model()
    model['backbone'].update(change)
    with pytest.raises(ValueError, match=rf'^model\.teacher\.backbone\.\S+ {NEEDS}'):
        build_network(model, 'model.teacher')


def test_types_anywhere_in_a_run(tiny_config):
    cfg = Config.fromfile(tiny_config('family'))
    cfg.train_dataloader.dataset.pipeline[-1] = dict(type='mmpretrain.PackInputs')
    with pytest.raises(ValueError, match=rf"pipeline\.\d+\.type='mmpretrain.PackInputs' {NEEDS}"):
        check_values(cfg, 'train', 'val')


def test_a_teacher_is_looked_at_before_anything_is_built(tiny_config):
    model = dict(
        type='FrozenTeacherDistill', architecture=tiny_model(), distiller=dict(type='MethodDistiller')
    )
    cfg = Config.fromfile(tiny_config('family_teacher', dict(model, teacher=dict(cfg_path=CONVNEXT))))
    with pytest.raises(ValueError, match=rf'^model\.teacher\.cfg_path: .* {NEEDS}'):
        check_values(cfg, 'train', 'val')


def test_a_text_that_is_no_type_is_left_alone():
    check_installed(dict(work_dir='mmpretrain/run', classes=['mmpretrain'], type='my_types.mmpretrain'))
