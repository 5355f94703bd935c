"""The shipped configs as the tests need them: read once, grouped into families, built small."""

import copy
import re
from functools import cache
from pathlib import Path

import mmengine.config.utils
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from toys import ROOT

import kd_methods.networks.config as networks_module
from kd_methods.networks.config import build_network, is_distillation, load_config, resolve_model_cfg

FILES = {p.stem: p for p in sorted((ROOT / 'configs').glob('[!_]*/*.py'))}
BASELINES = [name for name, path in FILES.items() if path.parent.name == 'baselines']
DISTILLED = [name for name in FILES if name not in BASELINES]
SIZE = 64


@cache
def _load(name: str) -> Config:
    return load_config(FILES.get(name, name))


def load(name: str) -> Config:
    """A shipped config by its name, or a package's by its path."""
    return copy.deepcopy(_load(name))


@cache
def _resolve(path: str) -> dict:
    return resolve_model_cfg(dict(cfg_path=path))


def networks(name: str) -> dict:
    """The full model dict of each network: 'student' (or the model alone) and 'teacher'."""
    model = _load(name).model
    if not is_distillation(_load(name)):
        return dict(student=_resolve(str(FILES[name])))
    return dict(student=_resolve(model.architecture.cfg_path), teacher=_resolve(model.teacher.cfg_path))


def families() -> list[str]:
    """One config for each method and kind of networks: that of the scenes where there is one."""
    found = {}
    for name in sorted(FILES, key=lambda name: ('_scenes' not in name, name)):
        kind = re.sub('_([0-9]+xb|scenes).*', '', name)  # without schedule and data
        kind = re.sub('-dconv|-[a-z]?[0-9]+[a-z0-9]*|[0-9]+', '', kind).replace('_x', '_r')  # without sizes
        if name in DISTILLED:  # heads are those of the baselines
            kind = re.sub('(deeplabv(plus)?|pspnet|fpn|segformer)_', '', kind)
        found.setdefault(kind, name)
    return sorted(found.values())


def _small(network: dict) -> dict:
    """Overrides for images of 64 x 64, few proposals and 50 layers in place of 101, in the real widths."""
    backbone = network['backbone']
    depth = dict(depth=50) if backbone.get('rgb', backbone).get('depth') == 101 else {}
    small = dict(downloads=False, backbone=dict(rgb=depth) if 'rgb' in backbone else depth)
    if 'decode_head' in network:
        small['data_preprocessor'] = dict(size=(SIZE, SIZE))
    elif isinstance((network.get('train_cfg') or {}).get('rcnn'), dict):
        small['train_cfg'] = dict(rcnn=dict(sampler=dict(num=16)), rpn_proposal=dict(max_per_img=32))
    return small


def build(name: str) -> torch.nn.Module:
    """The model of a config, no weights from files."""
    cfg = load(name)
    parts = {network: _small(model) for network, model in networks(name).items()}
    if not is_distillation(cfg):
        return build_network(dict(cfg_path=str(FILES[name]), **parts['student']))
    cfg.model.architecture.update(parts['student'])
    cfg.model.teacher.update(parts['teacher'])
    cfg.model.teacher_ckpt = None
    return MODELS.build(cfg.model)


def batch(name: str) -> dict:
    """Noise with labels, as the config's dataloader would collate it."""
    classes = len(classes_of(name))
    if load(name).default_scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        # of the scenes' size, or the smallest on which each level of a neck has several places
        size = 96 if name.endswith('scenescoco') else 160
        masks = any(t.get('with_mask') for t in _load(name).train_dataloader.dataset.pipeline)
        return demo_mm_inputs(2, [(3, size, size)] * 2, num_classes=classes, with_mask=masks)
    rng = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        label = torch.randint(classes, (1, 4, 4), generator=rng)
        label = label.repeat_interleave(SIZE // 4, 1).repeat_interleave(SIZE // 4, 2)
        label[:, :5] = 255
        sample = SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    shape = (4 if 'duplex' in name else 3, SIZE, SIZE)
    inputs = [torch.randint(256, shape, generator=rng, dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=inputs, data_samples=samples)


def without_scope(node):
    """A part of a config without the scopes that mmengine writes into what comes from a package."""
    if isinstance(node, dict):
        return {key: without_scope(value) for key, value in node.items() if key != '_scope_'}
    return [without_scope(value) for value in node] if isinstance(node, list) else node


def datasets_of(loader: dict) -> list:
    dataset = loader['dataset']
    return dataset['datasets'] if dataset['type'] == 'ConcatDataset' else [dataset]


def classes_of(name: str) -> tuple:
    """Class names of a config's training data: its own, or those of its kind."""
    cfg = _load(name)
    dataset = datasets_of(cfg.train_dataloader)[0]
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        return (dataset.get('metainfo') or registry.get(dataset['type']).METAINFO)['classes']


def heads_of(network: dict) -> list[dict]:
    """All parts of a network that tell classes apart."""
    roi = network.get('roi_head') or {}
    named = [network.get(key) for key in ('decode_head', 'auxiliary_head', 'bbox_head')]
    named += [roi.get(key) for key in ('bbox_head', 'mask_head')]
    heads = [head for part in named if part for head in (part if isinstance(part, list) else [part])]
    # a head of two branches takes the number of the first
    return [head if 'num_classes' in head else head['rgb'] for head in heads]


@pytest.fixture(autouse=True, scope='module')
def read_files_once():
    # mmengine reads mmseg's 53 metafiles for each `mmseg::` base: half a second a config.
    def read(path, key=''):
        return load(path if '::' in path else Path(path).stem)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.utils, 'load', cache(mmengine.config.utils.load))
        patch.setattr(networks_module, 'load_config', read)
        yield


@pytest.fixture(autouse=True)
def config_scope(request, read_files_once):
    # The runner sets this from the config's default_scope.
    name = getattr(request.node, 'callspec', None) and request.node.callspec.params.get('name')
    with DefaultScope.overwrite_default_scope(load(name).default_scope if name else 'mmseg'):
        yield
