"""Every shipped config loads and fits together; one of each family is built and trained for a step."""

import copy
import json
from pathlib import Path

import mmengine.hub
import pytest
import torch
from config_zoo import (
    BASELINES,
    DISTILLED,
    FILES,
    batch,
    build,
    classes_of,
    config_scope,  # noqa: F401  these fixtures apply to the modules that have them
    families,
    heads_of,
    load,
    networks,
    read_files_once,  # noqa: F401
    without_scope,
)
from mmengine.optim import build_optim_wrapper
from toys import ROOT

from kd_methods.export.plain_config import plain_config


def test_every_folder_is_covered():
    assert len(BASELINES) >= 15 and len(DISTILLED) >= 15
    assert len(FILES) == len(list((ROOT / 'configs').glob('[!_]*/*.py'))), 'two configs of one name'


@pytest.mark.parametrize('name', FILES)
def test_loads_and_counts_the_same_classes(name):
    cfg = load(name)
    assert 'kd_methods' in cfg.custom_imports.imports
    classes = len(classes_of(name))
    for network, model in networks(name).items():
        counts = [head['num_classes'] for head in heads_of(model)]
        assert counts and set(counts) == {classes}, network


@pytest.mark.parametrize('name', DISTILLED)
def test_only_the_teacher_tells_a_run_from_that_of_the_student_alone(name):
    """A teacher whose file a shipped config trains or a package publishes; data, schedule and batch stay."""
    cfg = load(name)
    student, teacher = (Path(cfg.model[key].cfg_path) for key in ('architecture', 'teacher'))
    assert (ROOT / student).is_file() and student.stem in BASELINES
    if '::' in cfg.model.teacher.cfg_path:
        published = mmengine.hub.get_config(cfg.model.teacher.cfg_path, pretrained=True)
        assert cfg.model.teacher_ckpt == published.model_path
    else:
        assert (ROOT / teacher).is_file() and teacher.stem in BASELINES
        assert cfg.model.teacher_ckpt == f'work_dirs/{teacher.stem}/best.pth'
    alone = load(student.stem)
    assert cfg.train_dataloader.batch_size == alone.train_dataloader.batch_size
    for part in (cfg.optim_wrapper, alone.optim_wrapper):  # losses may have weights that do not decay
        keys = part.get('paramwise_cfg', {}).get('custom_keys', {})
        if keys.pop('.fusion', None) and not keys:
            del part['paramwise_cfg']
    others = ('train_dataloader', 'train_pipeline') if name.startswith('lix') else ()  # reads X
    if 'camvid12' in name or 'scenes60' in name:  # images without labels beside those with labels
        others = ('train_dataloader',)
    for key in set(alone) & set(cfg) - {'model', *others}:
        assert cfg[key] == alone[key], key


def test_setting_of_mmrazors_table():
    student = 'pspnet_r18-d8_4xb2-80k_cityscapes-512x1024'
    alone, distilled = load(student), load(f'bcd_pspnet_r101-d8_{student}')
    assert without_scope(alone.model) == without_scope(load(f'mmseg::pspnet/{student}.py').model)
    razor = load(
        'mmrazor::distill/mmseg/cwd/cwd_logits_pspnet_r101-d8_pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    )
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator', 'optim_wrapper', 'param_scheduler'):
        assert without_scope(alone[key]) == without_scope(distilled[key]) == without_scope(razor[key]), key
    assert without_scope(distilled.train_cfg) == without_scope(razor.train_cfg)
    assert Path(distilled.model.teacher_ckpt).name == Path(razor.teacher_ckpt).name
    assert distilled.model.teacher.cfg_path == razor.teacher_cfg_path


@pytest.mark.parametrize('name', families())
def test_one_step_of_each_family(name):
    """Student and adapters learn, the teacher is used and stays as it is."""
    torch.manual_seed(0)
    model = build(name)
    model.init_weights()
    model.train()
    distilled = name in DISTILLED
    student = model.architecture if distilled else model
    before = copy.deepcopy(student.state_dict())
    taught = copy.deepcopy(model.teacher.model.state_dict()) if distilled else {}
    for part in getattr(model, 'inherit', []):
        assert all(torch.equal(before[key], taught[key]) for key in before if key.startswith(f'{part}.'))
    optim_wrapper = build_optim_wrapper(model, load(name).optim_wrapper)
    logs = model.train_step(batch(name), optim_wrapper)
    assert all(torch.isfinite(torch.as_tensor(v)).all() for v in logs.values()), logs
    after = student.state_dict()
    heads = {key.split('.')[0] for key in before if 'head' in key.split('.')[0]}
    for part in ('backbone', *heads - {'auxiliary_head'}):
        names = [key for key, _ in student.named_parameters() if key.startswith(f'{part}.')]
        assert any(not torch.equal(before[key], after[key]) for key in names), part
    if distilled:
        assert logs and all(logs[f'distill.{term}'] > 0 for term in model.weights.base), logs
        assert any(key.startswith('student.') for key in logs) == model.calculate_student_loss
        assert all(torch.equal(value, taught[key]) for key, value in model.teacher.model.state_dict().items())
        plain = json.dumps(plain_config(load(name)).to_dict())
        assert 'kd_methods' not in plain and 'istill' not in plain and 'https://' not in plain
