"""Every shipped config: it loads, its name is true, its networks build, each family trains."""
import copy
import re
from functools import cache
from pathlib import Path

import mmcv
import mmengine.config.utils
import mmseg.registry
import numpy as np
import pytest
import torch
from config_zoo import BASELINES, DISTILLED, FILES, batch, build_small, datasets_of, load, networks
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from toys import ROOT

import kd_methods.core.networks as networks_module
from kd_methods.core.networks import build_network, is_distillation

PAPER_SCALE = {key: [name for name in FILES if f'_{key}_' in name] for key in ('8xb2-40k', '8xb3-50k')}
DATASETS = {  # in a name: the class, its number of classes
    'scenes': ('SceneDataset', 11),
    'scenesrgbd': ('SceneDataset', 11),
    'cityscapes': ('CityscapesDataset', 19),
    'nyuv2': ('NYUv2Dataset', 40),
    'voc12aug': ('PascalVOCDataset', 21),
    'camvid': ('CamVidDataset', 11),
    'ade20k': ('ADE20KDataset', 150),
}
HEADS = {'deeplabv3': 'ASPPHead', 'deeplabv3plus': 'DepthwiseSeparableASPPHead', 'pspnet': 'PSPHead', 'segformer': 'SegformerHead',
         'fpn': 'FPNHead'}
BACKBONES = {'mobilenet-v2': 'MobileNetV2', 'mit': 'MixVisionTransformer', 'pvt-': 'mmdet.PyramidVisionTransformer',
             'pvtv2-': 'mmdet.PyramidVisionTransformerV2'}


@pytest.fixture(autouse=True)
def _scope():
    # The runner sets this from the config's default_scope.
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(autouse=True, scope='module')
def _read_files_once():
    # mmengine reads mmseg's 53 metafiles for each `mmseg::` base: half a second a config.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.utils, 'load', cache(mmengine.config.utils.load))
        patch.setattr(networks_module, 'load_config', lambda path, key='': load(Path(path).stem))
        yield


def test_every_folder_is_covered():
    assert len(BASELINES) >= 15 and len(DISTILLED) >= 15
    assert len(FILES) == len(list((ROOT / 'configs').glob('[!_]*/*.py'))), 'two configs of one name'


@pytest.mark.parametrize('name', FILES)
def test_name_tells_the_truth(name):
    cfg = load(name)
    match = re.fullmatch(
        r'(?P<networks>.+?)_(?:(?P<gpus>\d+)xb(?P<batch>\d+)-(?P<kiters>\d+)k_)?'
        r'(?P<dataset>[a-z0-9]+)(?:-(?P<h>\d+)x(?P<w>\d+))?', name)
    assert match, f'{name} is not METHOD_TEACHER_STUDENT_GPUSxbBATCH-SCHEDULE_DATASET-CROP'
    part = match.groupdict()
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for dataset in datasets_of(loader):
            kind = dataset['type']
            assert kind.replace('Disparity', '') == DATASETS[part['dataset']][0]
            # Training reads X for the teacher, validation for a model that needs it.
            reads_x = 'duplex' in name and (loader is cfg.train_dataloader or not is_distillation(cfg))
            assert reads_x == ('x_path' in dataset.get('data_prefix', {}))
            assert reads_x == ('PackRGBXInputs' in [t['type'] for t in dataset['pipeline']])
    if part['gpus']:
        assert cfg.train_dataloader.batch_size == int(part['batch'])
        assert cfg.train_cfg.max_iters == 1000 * int(part['kiters'])
        crop = (int(part['h']), int(part['w']))
        assert networks(name)['student']['data_preprocessor']['size'] == crop
        for dataset in datasets_of(cfg.train_dataloader):
            crops = [t for t in dataset['pipeline'] if t['type'] == 'RandomCrop']
            assert [tuple(t['crop_size']) for t in crops] == [crop]
    else:
        assert part['dataset'] in ('scenes', 'scenesrgbd')
    if is_distillation(cfg):
        return  # the networks' part is test_pair_is_what_the_name_says
    model = networks(name)['student']
    kind, backbone = part['networks'].split('_', 1)
    assert ('DuplexEncoder' == model['backbone']['type']) == backbone.startswith('duplex-')
    if backbone.startswith('duplex-'):
        late = backbone.startswith('duplex-late-')
        assert (model['backbone']['fusion'] is None) == late == (model['decode_head']['type'] == 'LateFusionHead')
        backbone = re.sub('duplex-(late-)?', '', backbone)
        model = dict(model, backbone=model['backbone']['rgb'], decode_head=model['decode_head']['rgb'] if late else
                     model['decode_head'])
    assert model['decode_head']['type'] == HEADS[kind]
    kinds = [kind for start, kind in BACKBONES.items() if backbone.startswith(start)]
    if kinds:
        assert model['backbone']['type'] == kinds[0]
    else:
        assert backbone.startswith(f"r{model['backbone']['depth']}")


@pytest.mark.parametrize('name', DISTILLED)
def test_pair_is_what_the_name_says(name):
    model = load(name).model
    student = Path(model.architecture.cfg_path)
    teacher = Path(model.teacher.cfg_path)
    assert {student.parent.as_posix(), teacher.parent.as_posix()} == {'configs/baselines'}
    assert student.stem in BASELINES and teacher.stem in BASELINES
    tail = re.search(r'(_\d+xb\d+-\d+k)?_[a-z0-9]+(-\d+x\d+)?$', student.stem).group()
    assert teacher.stem.endswith(tail)
    folder = FILES[name].parent.name
    method = name.split('_')[0]
    assert folder == 'peers' or method == folder or method.startswith(f'{folder}-')
    assert name == f'{method}_{teacher.stem[:-len(tail)]}_{student.stem[:-len(tail)]}{tail}'
    assert model.teacher_ckpt == f'work_dirs/{teacher.stem}/best.pth'


@pytest.mark.parametrize('name', FILES)
def test_class_counts_agree(name):
    cfg = load(name)
    (kind,) = {d['type'].replace('Disparity', '') for d in datasets_of(cfg.train_dataloader)}
    expected = {cls: count for cls, count in DATASETS.values()}[kind]
    assert len(mmseg.registry.DATASETS.get(kind).METAINFO['classes']) == expected
    for model in networks(name).values():
        for head in (model['decode_head'], model.get('auxiliary_head')):
            if head is not None:  # a head of two branches takes the number of the first
                assert head.get('num_classes', head.get('rgb', {}).get('num_classes')) == expected


def assert_augmentation(cfg):
    """Random scale of 0.5 to 2 and flip, no colours."""
    for dataset in datasets_of(cfg.train_dataloader):
        kinds = [t['type'] for t in dataset['pipeline']]
        assert 'RandomFlip' in kinds and 'PhotoMetricDistortion' not in kinds
        for step in dataset['pipeline']:
            if step['type'] == 'RandomResize':
                assert tuple(step['ratio_range']) == (0.5, 2.0)
            elif step['type'] == 'RandomChoice':
                factors = [t[0]['scale_factor'] for t in step['transforms']]
                assert (min(factors), max(factors)) == (0.5, 2.0)


@pytest.mark.parametrize('name', PAPER_SCALE['8xb2-40k'])
def test_setting_of_the_published_comparisons(name):
    cfg = load(name)
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)
    (schedule,) = cfg.param_scheduler
    assert schedule == dict(
        type='PolyLR', power=0.9, eta_min=0, begin=0, end=40000, by_epoch=False)
    assert_augmentation(cfg)
    student = networks(name)['student']
    assert student['backbone']['norm_cfg']['type'] == 'SyncBN'
    assert student['decode_head']['loss_decode']['avg_non_ignore']


@pytest.mark.parametrize('name', PAPER_SCALE['8xb3-50k'])
def test_setting_of_c2vkd_and_lix(name):
    cfg = load(name)
    assert_augmentation(cfg)
    if 'deeplabv3plus' in name and name in BASELINES or 'deeplabv3plus_r18' in name:
        assert cfg.optim_wrapper == dict(
            type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005))
        assert cfg.param_scheduler == [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=50000, by_epoch=False)]
    else:
        assert cfg.optim_wrapper == dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
            paramwise_cfg=dict(custom_keys=dict(
                pos_block=dict(decay_mult=0.0), norm=dict(decay_mult=0.0), head=dict(lr_mult=10.0))))
        assert cfg.param_scheduler == [
            dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
            dict(type='PolyLR', eta_min=0, power=1.0, begin=1500, end=50000, by_epoch=False)]
    if name.startswith('c2vkd'):
        published = name.startswith('c2vkd-paper_')
        assert cfg.model.get('calculate_student_loss', True) != published
        place = 'backbone.-1' if published else 'features'
        vlfd = dict(reduction='element', gram_scale='channel') if published else dict(loss_weight=dict(type='auto', ratio=1.0))
        assert cfg.model.distiller == dict(type='C2VKDDistiller', student_feature=place, teacher_feature=place, vlfd=vlfd)


@pytest.mark.parametrize('name', BASELINES)
def test_full_size_network_is_consistent(name):
    # On the meta device: shapes only, so that the real widths are checked, not the overridden ones. The transformers, which
    # are small, compute with numbers when they are built.
    device = 'cpu' if name.startswith(('segformer', 'fpn')) else 'meta'
    with torch.device(device), torch.no_grad():
        model = build_network(dict(cfg_path=str(FILES[name]), downloads=False)).eval()
        logits = model(torch.zeros(1, 4 if 'duplex' in name else 3, 128, 128), mode='tensor')
    classes = model.num_classes
    stride = 8 if name.startswith(('pspnet', 'deeplabv3_')) else 4
    assert logits.shape == (1, classes, 128 // stride, 128 // stride)


@pytest.mark.parametrize('name', FILES)
def test_builds_small(name):
    model = build_small(name)
    plain = model.architecture if name in DISTILLED else model
    assert type(plain).__name__ == 'EncoderDecoder'
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in plain.modules()) or \
        torch.cuda.is_available()
    if name in DISTILLED:
        trained = {id(p) for p in model.parameters()}
        assert not any(id(p) in trained for p in model.teacher.model.parameters())
        adapters = [tuple(p.shape) for p in model.distiller.parameters()]
        # C2VKD's pooled vector has 512 channels, the last stages have 64
        expected = {'i2ckd': [(16, 8)], 'c2vkd': [(16, 8, 1, 1), (512, 8), (512, )],
                    'c2vkd-paper': [(64, 64, 1, 1), (512, 64), (512, )]}
        assert adapters == expected.get(name.split('_')[0], [])


ONE_OF_EACH = [
    name for name in FILES
    if ('camvid' in name and name not in BASELINES) or FILES[name].parent.name == 'peers'
    or name.startswith(('i2ckd_pspnet_r101', 'c2vkd', 'lix')) and 'voc12aug' not in name and 'ade20k' not in name
] + [n for n in BASELINES if 'camvid' in n or 'ade20k' in n or 'nyuv2' in n or 'scenesrgbd' in n]


@pytest.mark.parametrize('name', ONE_OF_EACH)
def test_one_step_of_each_family(name):
    torch.manual_seed(0)
    model = build_small(name)
    model.train()
    student = model.architecture if name in DISTILLED else model
    before = copy.deepcopy(student.state_dict())
    optim_wrapper = build_optim_wrapper(model, load(name).optim_wrapper)
    logs = model.train_step(batch(student.num_classes, channels=4 if 'duplex' in name else 3), optim_wrapper)
    assert all(torch.isfinite(torch.as_tensor(v)).all() for v in logs.values()), logs
    for part in ('backbone', 'decode_head.conv_seg'):
        names = [n for n, _ in student.named_parameters() if n.startswith(part)]
        after = student.state_dict()
        assert any(not torch.equal(before[n], after[n]) for n in names), part
    if name in DISTILLED:
        method = FILES[name].parent.name
        arfd = [] if 'duplex-late' in name else ['arfd_0', 'arfd_1', 'arfd_2']
        terms = dict(peers=[name.split('_')[0]], c2vkd=['vlfd', 'pdd'], lix=['dwld', *arfd]).get(method, [method])
        assert any(k.startswith('student.') for k in logs) == model.calculate_student_loss
        assert all(logs[f'distill.loss_{term}'] > 0 for term in terms)
        if method == 'i2ckd':
            assert {f'distill.i2ckd_{key}' for key in ('active', 'd_pos', 'D')} <= set(logs)
        assert not any(p.requires_grad or p.grad is not None
                       for p in model.teacher.model.parameters())


def _write(path: Path, array: np.ndarray) -> None:
    assert mmcv.imwrite(array, str(path))


@pytest.mark.parametrize('part, train_x, val_x', [('rgb_disparity', True, False), ('disparity', True, True)])
def test_cityscapes_disparity_is_read_where_it_lies(part, train_x, val_x, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for split in ('train', 'val'):
        _write(tmp_path / f'leftImg8bit/{split}/ulm/ulm_0_leftImg8bit.png', image)
        _write(tmp_path / f'gtFine/{split}/ulm/ulm_0_gtFine_labelTrainIds.png', np.full((90, 120), 3, np.uint8))
        _write(tmp_path / f'disparity/{split}/ulm/ulm_0_disparity.png', np.full((90, 120), 2561, np.uint16))
    cfg = Config.fromfile(ROOT / f'configs/_base_/datasets/cityscapes_{part}_512x512.py')
    for loader, has_x in ((cfg.train_dataloader, train_x), (cfg.val_dataloader, val_x)):
        loader.dataset.data_root = str(tmp_path)
        with mmseg.registry.DATASETS.switch_scope_and_registry('mmseg') as registry:
            item = registry.build(loader.dataset)[0]
        assert len(item['inputs']) == (4 if has_x else 3)
        assert not has_x or (item['inputs'][3] == 10).all()  # (2561 - 1) / 256
        assert (item['data_samples'].gt_sem_seg.data == 3).all()


@pytest.mark.parametrize('base, crop', [
    ('cityscapes_512x1024', (512, 1024)), ('cityscapes_512x512', (512, 512)), ('voc12_aug_512x512', (512, 512)),
    ('ade20k_512x512', (512, 512))])
def test_pipelines_run_on_the_layout_mmseg_documents(base, crop, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    label = np.full((90, 120), 3, dtype=np.uint8)
    if base.startswith('cityscapes'):
        for split in ('train', 'val'):
            _write(tmp_path / f'leftImg8bit/{split}/ulm/ulm_0_leftImg8bit.png', image)
            _write(tmp_path / f'gtFine/{split}/ulm/ulm_0_gtFine_labelTrainIds.png', label)
    elif base.startswith('ade20k'):
        for split in ('training', 'validation'):
            _write(tmp_path / f'images/{split}/a.jpg', image)
            _write(tmp_path / f'annotations/{split}/a.png', label + 1)  # 0 is 'other', which is ignored
    else:
        for split in ('train', 'aug', 'val'):
            _write(tmp_path / f'JPEGImages/{split}.jpg', image)
            folder = 'SegmentationClassAug' if split == 'aug' else 'SegmentationClass'
            _write(tmp_path / f'{folder}/{split}.png', label)
            listed = tmp_path / f'ImageSets/Segmentation/{split}.txt'
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.write_text(split)
    cfg = Config.fromfile(ROOT / f'configs/_base_/datasets/{base}.py')
    sizes = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        for dataset in datasets_of(loader):
            dataset['data_root'] = str(tmp_path)
        with mmseg.registry.DATASETS.switch_scope_and_registry('mmseg') as registry:
            built = registry.build(loader.dataset)
        items = [built[i] for i in range(len(built))]
        assert all((i['data_samples'].gt_sem_seg.data == 3).all() for i in items)
        sizes.append([tuple(i['inputs'].shape[-2:]) for i in items])
    train, val = sizes
    assert len(train) == (2 if base.startswith('voc') else 1)
    assert all(h <= crop[0] and w <= crop[1] for h, w in train)
    # VOC is tested at each image's own size; Cityscapes' images are brought to 1024 rows, ADE20K's to 512.
    assert val == [dict(cityscapes=(1024, 1365), voc12=(90, 120), ade20k=(512, 683))[base.split('_')[0]]]
