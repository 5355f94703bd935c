"""The shipped configs as the tests need them: read once, each network also as the smallest of its family."""

import copy
import math
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
DETECTORS = [name for name in FILES if name.endswith('coco')]
SIZE = 64
PAPER_SCALE = {
    key: [name for name in FILES if f'_{key}_' in name] for key in ('8xb2-40k', '8xb2-80k', '8xb3-50k')
}
DATA = {  # in a name: the class, its number of classes
    'scenes': ('SceneDataset', 11),
    'scenesrgbd': ('SceneDataset', 11),
    'cityscapes': ('CityscapesDataset', 19),
    'nyuv2': ('NYUv2Dataset', 40),
    'voc12aug': ('PascalVOCDataset', 21),
    'camvid': ('CamVidDataset', 11),
    'ade20k': ('ADE20KDataset', 150),
    'coco-stuff10k': ('COCOStuffDataset', 171),
    'scenescoco': ('CocoDataset', 10),
    'coco': ('CocoDataset', 80),
}
HEADS = {
    'deeplabv3': 'ASPPHead',
    'deeplabv3plus': 'DepthwiseSeparableASPPHead',
    'pspnet': 'PSPHead',
    'segformer': 'SegformerHead',
    'fpn': 'FPNHead',
}
BACKBONES = {
    'mobilenet-v2': 'MobileNetV2',
    'mit': 'MixVisionTransformer',
    'pvt-': 'mmdet.PyramidVisionTransformer',
    'pvtv2-': 'mmdet.PyramidVisionTransformerV2',
}
KINDS = {
    'RetinaNet': 'retinanet',
    'RepPointsDetector': 'reppoints',
    'FasterRCNN': 'faster-rcnn',
    'MaskRCNN': 'mask-rcnn',
    'CascadeRCNN': 'cascade-rcnn',
}  # mmdet's detectors in a name


@cache
def _load(name: str) -> Config:
    return load_config(FILES.get(name, name))


def load(name: str) -> Config:
    """A shipped config by its name, or a package's by its path."""
    return copy.deepcopy(_load(name))


@cache
def _resolve(path: str):
    return resolve_model_cfg(dict(cfg_path=path))


def networks(name: str) -> dict:
    """The full model dict of each network: 'student' (or the model alone) and 'teacher'."""
    cfg = load(name)
    if not is_distillation(cfg):
        return dict(student=_resolve(str(FILES[name])))
    return dict(
        student=_resolve(cfg.model.architecture.cfg_path), teacher=_resolve(cfg.model.teacher.cfg_path)
    )


def smallest(model: dict, head: int = 8) -> dict:
    """Overrides that make a network the smallest of its family."""
    if 'decode_head' not in model:
        return smallest_detector(model)
    if model['backbone']['type'] == 'DuplexEncoder':
        late = model['decode_head']['type'] == 'LateFusionHead'
        part = smallest(
            dict(
                model,
                backbone=model['backbone']['rgb'],
                decode_head=model['decode_head']['rgb'] if late else model['decode_head'],
            ),
            head,
        )
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


def smallest_detector(model: dict) -> dict:
    """Overrides for a thin backbone and few proposals; neck and heads stay, which is where it is distilled
    and inherited.
    """
    deep = (
        model['backbone']['depth'] >= 50
    )  # bottlenecks: their maps, and so the necks, have one width in student and teacher
    backbone = dict(depth=50 if deep else 18, stem_channels=8, base_channels=8)
    if model['backbone']['type'] == 'ResNeXt':
        backbone['groups'] = 2
    stages = [8 * 2**i * (4 if deep else 1) for i in range(4)]
    overrides = dict(downloads=False, backbone=backbone, neck=dict(in_channels=stages))
    if isinstance((model.get('train_cfg') or {}).get('rcnn'), dict):
        overrides['train_cfg'] = dict(rcnn=dict(sampler=dict(num=16)), rpn_proposal=dict(max_per_img=32))
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
    inputs = [
        torch.randint(256, (channels, size, size), generator=generator, dtype=torch.uint8) for _ in range(2)
    ]
    return dict(inputs=inputs, data_samples=samples)


def detection_batch(name: str) -> dict:
    """Noise with boxes, and masks where the data has them: of the scenes' size, or for COCO the smallest on
    which each of a neck's levels has several places."""
    from mmdet.testing import demo_mm_inputs

    size = 96 if name.endswith('scenescoco') else 160
    masks = any(t.get('with_mask') for t in load(name).train_dataloader.dataset.pipeline)
    return demo_mm_inputs(2, [(3, size, size)] * 2, num_classes=len(classes_of(name)), with_mask=masks)


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
    cfg = load(name)
    dataset = datasets_of(cfg.train_dataloader)[0]
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        return (dataset.get('metainfo') or registry.get(dataset['type']).METAINFO)['classes']


def heads_of(model: dict) -> list[dict]:
    """All parts of a network that tell classes apart."""
    roi = model.get('roi_head') or {}
    named = [
        *map(model.get, ('decode_head', 'auxiliary_head', 'bbox_head')),
        *map(roi.get, ('bbox_head', 'mask_head')),
    ]
    heads = [h for part in named if part for h in (part if isinstance(part, list) else [part])]
    return [
        h if 'num_classes' in h else h['rgb'] for h in heads
    ]  # a head of two branches takes the number of the first


def detector_name(model: dict) -> str:
    """What a name has to call a detector: its kind and its backbone, of the usual width."""
    backbone = model['backbone']
    kind = KINDS[model['type']]
    if 'mask_head' in model.get('roi_head', {}):
        kind = kind.replace('cascade-', 'cascade-mask-')
    cardinality = '-{groups}x{base_width}d'.format(**backbone) if backbone['type'] == 'ResNeXt' else ''
    letter = {'ResNet': 'r', 'ResNeXt': 'x'}[backbone['type']]
    return f'{kind}_{letter}{backbone["depth"]}{cardinality}{"-dconv" if backbone.get("dcn") else ""}'


def segmentor_name(model: dict) -> str:
    """What a name has to call a segmentor on a ResNet of the usual width: its head, its depth and the stride
    of its last map.
    """
    (kind,) = [kind for kind, head in HEADS.items() if head == model['decode_head']['type']]
    backbone = model['backbone']
    return f'{kind}_r{backbone["depth"]}-d{4 * math.prod(backbone["strides"])}'


@pytest.fixture(autouse=True, scope='module')
def read_files_once():
    # mmengine reads mmseg's 53 metafiles for each `mmseg::` base: half a second a config.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.utils, 'load', cache(mmengine.config.utils.load))
        patch.setattr(
            networks_module,
            'load_config',
            lambda path, key='': load(path if '::' in path else Path(path).stem),
        )
        yield


@pytest.fixture(autouse=True)
def config_scope(request, read_files_once):
    # The runner sets this from the config's default_scope.
    name = getattr(request.node, 'callspec', None) and request.node.callspec.params.get('name')
    with DefaultScope.overwrite_default_scope(load(name).default_scope if name else 'mmseg'):
        yield
