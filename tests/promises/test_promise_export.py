"""Every exported student loads, strictly, in a process that has no kd_methods."""

import json
import subprocess
import sys
from pathlib import Path

import config_zoo
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from toys import tiny_distillation, tiny_mask2former, tiny_model, write_config

from kd_methods.export.student import export_student
from kd_methods.networks.config import build_network, is_distillation, resolve_model_cfg

#: CONFIG WEIGHTS pairs in JSON; prints, for each config, what its load ended with.
LOAD = """
import json, sys
sys.modules['kd_methods'] = None
import torch
from mmengine.config import Config
import mmdet.apis, mmseg.apis
found = {}
for config, weights in json.loads(sys.argv[1]).items():
    try:
        cfg = Config.fromfile(config)
        load = mmdet.apis.init_detector if cfg.default_scope == 'mmdet' else mmseg.apis.init_model
        own, file = load(cfg, weights, device='cpu').state_dict(), torch.load(weights, weights_only=True)
        wrong = [k for k, v in file['state_dict'].items() if k not in own or not torch.equal(v, own[k])]
        found[config] = str([*wrong, *(own.keys() - file['state_dict'].keys())])
    except Exception as error:
        found[config] = f'{type(error).__name__}: {error}'
print('\\n' + json.dumps(found))
"""

MODULE = """
from mmseg.models.backbones import ResNetV1c
from mmseg.registry import MODELS

@MODELS.register_module()
class {name}(ResNetV1c):
    pass
"""


def own_backbone(folder: Path, name: str) -> dict:
    """`tiny_model` with a backbone of a user's module, which is in `folder`, and what imports that."""
    (folder / f'{name.lower()}.py').write_text(MODULE.format(name=name))
    model = tiny_model(4)
    model['backbone']['type'] = name
    return dict(model=model, custom_imports=dict(imports=[name.lower()], allow_failed_imports=False))


@pytest.fixture(scope='module')
def cases(tmp_path_factory, tiny_teacher, tiny_config) -> tuple[dict[str, Config], Path]:
    """Configs of every kind of student, and the folder of the modules that some import."""
    folder = tmp_path_factory.mktemp('modules')
    sys.path.insert(0, str(folder))
    scenes = [name for name in config_zoo.families() if '_scenes' in name and name in config_zoo.DISTILLED]
    found = {name: config_zoo.load(name) for name in scenes if 'rgbd' not in name}
    small = dict(custom_imports=dict(imports=['kd_methods'], allow_failed_imports=False))

    def distilled(title: str, student: dict, **keys) -> Config:
        return Config.fromfile(
            tiny_config(title, tiny_distillation(tiny_teacher, architecture=student), **keys)
        )

    found['a plain run'] = Config.fromfile(tiny_teacher.config)
    found['mask2former'] = Config.fromfile(tiny_config('m2f', resolve_model_cfg(tiny_mask2former()), **small))
    # a student's own config, which alone says what it imports
    own = write_config(folder / 'own.py', dict(default_scope='mmseg', **own_backbone(folder, 'OwnNet')))
    found['imports of the student'] = distilled('own', dict(cfg_path=str(own)), **small)
    run = own_backbone(folder, 'RunNet')
    found['imports of the run'] = distilled('run', run.pop('model'), **run)
    # a preprocessor beside the model, of which mmengine's Runner knows
    model = tiny_model(4)
    beside = dict(model=model, default_scope='mmseg', data_preprocessor=model.pop('data_preprocessor'))
    path = write_config(folder / 'beside.py', beside)
    found['preprocessor beside the student'] = distilled('beside', dict(cfg_path=str(path)))
    found['preprocessor beside a plain model'] = Config.fromfile(path)
    return found, folder


@pytest.fixture(scope='module')
def loaded(cases, tmp_path_factory) -> dict[str, tuple[str, Config]]:
    """Of every case: what its load in another process ended with, and the exported config."""
    configs, modules = cases
    out, files = tmp_path_factory.mktemp('exported'), {}
    for i, (name, cfg) in enumerate(configs.items()):
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            entry = cfg.model.architecture if is_distillation(cfg) else cfg.model
            state = build_network(dict(entry, downloads=False) if 'cfg_path' in entry else entry).state_dict()
        weights, config = export_student(cfg, dict(state_dict=state), out / f'{i}.pth', verify=False)
        files[name] = config, weights
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', LOAD, json.dumps(dict(files.values()))],
        capture_output=True,
        text=True,
        cwd=modules,  # where the user's modules are
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    return {name: (answers[config], Config.fromfile(config)) for name, (config, _) in files.items()}


def test_every_exported_student_loads_in_a_process_that_has_no_kd_methods(loaded):
    assert len(loaded) >= 10
    assert {name: answer for name, (answer, _) in loaded.items() if answer != '[]'} == {}


def test_what_building_needs_beside_the_model_is_exported(loaded):
    assert loaded['imports of the student'][1].custom_imports.imports == ['ownnet']
    assert loaded['imports of the run'][1].custom_imports.imports == ['runnet']
    for name in ('student', 'a plain model'):
        kept = loaded[f'preprocessor beside {"the " * (name == "student")}{name}'][1].model
        assert kept.data_preprocessor.mean == tiny_model()['data_preprocessor']['mean']
