"""The shipped configs as the tests need them: read once, each network also as the smallest of its family."""
import copy
from functools import cache

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from toys import ROOT

import kd_methods  # noqa: F401
from kd_methods.core.networks import build_network, is_distillation, load_config, resolve_model_cfg

FILES = {p.stem: p for p in sorted((ROOT / 'configs').glob('[!_]*/*.py'))}
BASELINES = [name for name, path in FILES.items() if path.parent.name == 'baselines']
DISTILLED = [name for name in FILES if name not in BASELINES]
SIZE = 64


@cache
def _load(name: str) -> Config:
    return load_config(FILES[name])


def load(name: str) -> Config:
    return copy.deepcopy(_load(name))


@cache
def _resolve(path: str):
    return resolve_model_cfg(dict(cfg_path=path))


def networks(name: str) -> dict:
    """The full model dict of each network: 'student' (or the model alone) and 'teacher'."""
    cfg = load(name)
    if not is_distillation(cfg):
        return dict(student=_resolve(str(FILES[name])))
    return dict(student=_resolve(cfg.model.architecture.cfg_path),
                teacher=_resolve(cfg.model.teacher.cfg_path))


def smallest(model: dict, head: int = 8) -> dict:
    """Overrides that make a network the smallest of its family."""
    if model['backbone']['type'] == 'DuplexEncoder':
        late = model['decode_head']['type'] == 'LateFusionHead'
        part = smallest(dict(model, backbone=model['backbone']['rgb'],
                             decode_head=model['decode_head']['rgb'] if late else model['decode_head']), head)
        part['backbone'] = dict(rgb=part['backbone'])
        if late:
            part['decode_head'] = dict(rgb=part['decode_head'])
        return part
    kind = model['backbone']['type']
    if kind == 'MobileNetV2':
        backbone, stages = dict(widen_factor=0.25), (8, 24, 24, 80)
    elif kind == 'ResNetV1c':
        backbone, stages = dict(depth=18, stem_channels=8, base_channels=8), (8, 16, 32, 64)
    else:  # vision transformers
        backbone, stages = dict(embed_dims=8, num_layers=[1, 1, 1, 1]), (8, 16, 40, 64)
    overrides = dict(downloads=False, backbone=backbone, data_preprocessor=dict(size=(SIZE, SIZE)))
    if model['decode_head']['type'] == 'FPNHead':
        overrides['neck'] = dict(in_channels=list(stages), out_channels=8)
        overrides['decode_head'] = dict(in_channels=[8] * 4, channels=head)
    elif model['decode_head']['type'] == 'SegformerHead':
        overrides['decode_head'] = dict(in_channels=list(stages), channels=head)
    else:
        overrides['decode_head'] = dict(in_channels=stages[3], channels=head)
        if 'c1_in_channels' in model['decode_head']:
            overrides['decode_head'].update(c1_in_channels=stages[0], c1_channels=4)
    if model.get('auxiliary_head'):
        overrides['auxiliary_head'] = dict(in_channels=stages[2], channels=8)
    return overrides


def build_small(name: str) -> torch.nn.Module:
    """The model of a config, every network the smallest of its family, no weights from files."""
    cfg = load(name)
    nets = networks(name)
    if not is_distillation(cfg):
        return build_network(dict(cfg_path=str(FILES[name]), **smallest(nets['student'])))
    cfg.model.architecture.update(smallest(nets['student']))
    cfg.model.teacher.update(smallest(nets['teacher'], head=16))  # wider: adapters are needed
    cfg.model.teacher_ckpt = None
    return MODELS.build(cfg.model)


def batch(num_classes: int, size: int = SIZE, channels: int = 3) -> dict:
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        label = torch.randint(num_classes, (1, 4, 4), generator=generator)
        label = label.repeat_interleave(size // 4, 1).repeat_interleave(size // 4, 2)
        label[:, :5] = 255
        sample = SegDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size)))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    inputs = [torch.randint(256, (channels, size, size), generator=generator, dtype=torch.uint8)
              for _ in range(2)]
    return dict(inputs=inputs, data_samples=samples)


def datasets_of(loader: dict) -> list:
    dataset = loader['dataset']
    return dataset['datasets'] if dataset['type'] == 'ConcatDataset' else [dataset]
