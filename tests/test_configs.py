"""Every shipped config: it loads, its name is true, its networks build, each family trains."""

import copy
import re
from pathlib import Path

import mmengine.hub
import pytest
import torch
from config_zoo import (
    BACKBONES,
    BASELINES,
    DATA,
    DETECTORS,
    DISTILLED,
    FILES,
    HEADS,
    KINDS,
    PAPER_SCALE,
    batch,
    build_small,
    classes_of,
    config_scope,  # noqa: F401  these fixtures apply to the modules that have them
    datasets_of,
    detection_batch,
    detector_name,
    heads_of,
    load,
    networks,
    read_files_once,  # noqa: F401
    segmentor_name,
    without_scope,
)
from mmengine.optim import build_optim_wrapper
from toys import ROOT

from kd_methods.networks.config import build_network, is_distillation


def test_every_folder_is_covered():
    assert len(BASELINES) >= 15 and len(DISTILLED) >= 15
    assert len(FILES) == len(list((ROOT / 'configs').glob('[!_]*/*.py'))), 'two configs of one name'


@pytest.mark.parametrize('name', FILES)
def test_name_tells_the_truth(name):
    cfg = load(name)
    match = re.fullmatch(
        r'(?P<networks>.+?)_(?:(?P<gpus>\d+)xb(?P<batch>\d+)-(?P<length>\d+)(?P<unit>[kx])_)?'
        r'(?P<dataset>coco-stuff10k|[a-z0-9]+)(?:-(?P<h>\d+)x(?P<w>\d+))?',
        name,
    )
    assert match, f'{name} is not METHOD_TEACHER_STUDENT_GPUSxbBATCH-SCHEDULE_DATASET-CROP'
    part = match.groupdict()
    assert cfg.default_scope == ('mmdet' if name in DETECTORS else 'mmseg')
    assert 'kd_methods' in cfg.custom_imports.imports
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for dataset in datasets_of(loader):
            kind = dataset['type']
            assert kind.replace('Disparity', '') == DATA[part['dataset']][0]
            # Training reads X for the teacher, validation for a model that needs it.
            reads_x = 'duplex' in name and (loader is cfg.train_dataloader or not is_distillation(cfg))
            assert reads_x == ('x_path' in dataset.get('data_prefix', {}))
            assert reads_x == ('PackRGBXInputs' in [t['type'] for t in dataset['pipeline']])
    if part['gpus']:
        assert cfg.train_dataloader.batch_size == int(part['batch'])
        if part['unit'] == 'x':  # mmdet's unit, of 12 epochs
            assert (cfg.train_cfg.type, cfg.train_cfg.max_epochs) == (
                'EpochBasedTrainLoop',
                12 * int(part['length']),
            )
        else:
            assert cfg.train_cfg.max_iters == 1000 * int(part['length'])
    else:
        assert part['dataset'] in ('scenes', 'scenesrgbd', 'scenescoco')
    if part['h']:
        crop = (int(part['h']), int(part['w']))
        assert networks(name)['student']['data_preprocessor']['size'] == crop
        for dataset in datasets_of(cfg.train_dataloader):
            crops = [t for t in dataset['pipeline'] if t['type'] == 'RandomCrop']
            assert [tuple(t['crop_size']) for t in crops] == [crop]
    if is_distillation(cfg):
        return  # the networks' part is test_pair_is_what_the_name_says
    model = networks(name)['student']
    if name in DETECTORS:
        named, _, width = part['networks'].partition('-w')
        assert named == detector_name(model)
        assert not width or model['backbone']['base_channels'] == int(width)
        return
    kind, backbone = part['networks'].split('_', 1)
    assert ('DuplexEncoder' == model['backbone']['type']) == backbone.startswith('duplex-')
    if backbone.startswith('duplex-'):
        late = backbone.startswith('duplex-late-')
        assert (
            (model['backbone']['fusion'] is None)
            == late
            == (model['decode_head']['type'] == 'LateFusionHead')
        )
        backbone = re.sub('duplex-(late-)?', '', backbone)
        model = dict(
            model,
            backbone=model['backbone']['rgb'],
            decode_head=model['decode_head']['rgb'] if late else model['decode_head'],
        )
    assert model['decode_head']['type'] == HEADS[kind]
    kinds = [kind for start, kind in BACKBONES.items() if backbone.startswith(start)]
    if kinds:
        assert model['backbone']['type'] == kinds[0]
    else:
        assert backbone.startswith(f'r{model["backbone"]["depth"]}')


@pytest.mark.parametrize('name', DISTILLED)
def test_pair_is_what_the_name_says(name):
    model = load(name).model
    student = Path(model.architecture.cfg_path)
    teacher = Path(model.teacher.cfg_path)
    assert student.parent.as_posix() == 'configs/baselines' and student.stem in BASELINES
    tail = re.search(r'(_\d+xb\d+-\d+[kx])?_(coco-stuff10k|[a-z0-9]+)(-\d+x\d+)?$', student.stem).group()
    if '::' in model.teacher.cfg_path:  # trained by its package, whose list of checkpoints is asked
        teacher = networks(name)['teacher']
        taught_by = detector_name(teacher) if name in DETECTORS else segmentor_name(teacher)
        if name not in DETECTORS:  # at the student's crop, on its data
            assert (
                teacher['data_preprocessor']['size'] == networks(name)['student']['data_preprocessor']['size']
            )
            assert model.teacher.cfg_path[:-3].endswith(tail.split('_')[-1])
        assert (
            model.teacher_ckpt == mmengine.hub.get_config(model.teacher.cfg_path, pretrained=True).model_path
        )
        assert model.teacher_ckpt.endswith('.pth')
    else:
        assert teacher.parent.as_posix() == 'configs/baselines' and teacher.stem in BASELINES
        assert teacher.stem.endswith(tail)
        taught_by = teacher.stem[: -len(tail)]
        assert model.teacher_ckpt == f'work_dirs/{teacher.stem}/best.pth'
    folder = FILES[name].parent.name
    method = name.split('_')[0]
    assert folder == 'peers' or method == folder or method.startswith(f'{folder}-')
    assert name == f'{method}_{taught_by}_{student.stem}'


@pytest.mark.parametrize('name', FILES)
def test_class_counts_agree(name):
    expected = DATA[re.search(r'_(coco-stuff10k|[a-z0-9]+)(-\d+x\d+)?$', name).group(1)][1]
    assert len(classes_of(name)) == expected
    for model in networks(name).values():
        assert heads_of(model) and all(head['num_classes'] == expected for head in heads_of(model))


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


@pytest.mark.parametrize('name', PAPER_SCALE['8xb2-40k'] + PAPER_SCALE['8xb2-80k'])
def test_setting_of_the_published_comparisons(name):
    cfg = load(name)
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)
    (schedule,) = cfg.param_scheduler
    assert schedule == dict(
        type='PolyLR', power=0.9, eta_min=0, begin=0, end=cfg.train_cfg.max_iters, by_epoch=False
    )
    assert_augmentation(cfg)
    student = networks(name)['student']
    assert student['backbone']['norm_cfg']['type'] == 'SyncBN'
    assert student['decode_head']['loss_decode']['avg_non_ignore']


@pytest.mark.parametrize('name', PAPER_SCALE['8xb3-50k'])
def test_setting_of_50k_iterations(name):
    cfg = load(name)
    assert_augmentation(cfg)
    if name in BASELINES and name.startswith(('deeplabv3plus', 'pspnet')) or 'deeplabv3plus_r18' in name:
        assert cfg.optim_wrapper == dict(
            type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005)
        )
        assert cfg.param_scheduler == [
            dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=50000, by_epoch=False)
        ]
    else:
        assert cfg.optim_wrapper == dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
            paramwise_cfg=dict(
                custom_keys=dict(
                    pos_block=dict(decay_mult=0.0), norm=dict(decay_mult=0.0), head=dict(lr_mult=10.0)
                )
            ),
        )
        assert cfg.param_scheduler == [
            dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
            dict(type='PolyLR', eta_min=0, power=1.0, begin=1500, end=50000, by_epoch=False),
        ]
    if name.startswith('c2vkd'):
        published = name.startswith('c2vkd-paper_')
        assert cfg.model.get('calculate_student_loss', True) != published
        place = 'backbone.-1' if published else 'features'
        vlfd = (
            dict(reduction='element', gram_scale='channel')
            if published
            else dict(loss_weight=dict(type='auto', ratio=1.0))
        )
        assert cfg.model.distiller == dict(
            type='C2VKDDistiller', student_feature=place, teacher_feature=place, vlfd=vlfd
        )


def test_setting_of_mmrazors_table():
    student = 'pspnet_r18-d8_4xb2-80k_cityscapes-512x1024'
    alone, distilled = load(student), load(f'bcd_pspnet_r101-d8_{student}')
    assert without_scope(alone.model) == without_scope(load(f'mmseg::pspnet/{student}.py').model)
    razor = load(
        'mmrazor::distill/mmseg/cwd/cwd_logits_pspnet_r101-d8_pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    )
    for key in (
        'train_dataloader',
        'val_dataloader',
        'val_evaluator',
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
    ):
        assert without_scope(alone[key]) == without_scope(distilled[key]) == without_scope(razor[key]), key
    assert Path(distilled.model.teacher_ckpt).name == Path(razor.teacher_ckpt).name
    assert distilled.model.teacher.cfg_path == razor.teacher_cfg_path


@pytest.mark.parametrize('name', [n for n in DISTILLED if n.startswith('bcd')])
def test_setting_of_bcd(name):
    cfg = load(name)
    taps = (
        dict(features=[f'neck.{i}' for i in range(3)], context_features='neck.0')
        if name.endswith('scenescoco')
        else {}
    )
    assert cfg.model.distiller == dict(
        type='BCDDistiller', boundary=dict(loss_weight=10.0), context=dict(loss_weight=1.0), **taps
    )
    alone = load(Path(cfg.model.architecture.cfg_path).stem)
    # Nothing but the teacher tells the two runs apart; the rest of a baseline are variables of its network's
    # base.
    assert set(alone) - set(cfg) <= {'backbone_norm_cfg', 'checkpoint', 'data_preprocessor', 'norm_cfg'}
    for key in set(alone) & set(cfg) - {'model'}:
        assert cfg[key] == alone[key], key


@pytest.mark.parametrize('name', [n for n in BASELINES if n not in DETECTORS])
def test_full_size_network_is_consistent(name):
    # On the meta device: shapes only, so that the real widths are checked, not the overridden ones. The
    # transformers, which are small, compute with numbers when they are built.
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
    assert type(plain).__name__ in (KINDS if name in DETECTORS else ['EncoderDecoder'])
    assert (
        not any(isinstance(m, torch.nn.SyncBatchNorm) for m in plain.modules()) or torch.cuda.is_available()
    )
    if name in DISTILLED:
        trained = {id(p) for p in model.parameters()}
        assert not any(id(p) in trained for p in model.teacher.model.parameters())
        adapters = [tuple(p.shape) for p in model.distiller.parameters()]
        if name.startswith('bcd'):  # two losses whatever the widths, and no adapters
            assert [*model.distiller.distill_losses] == ['loss_boundary', 'loss_context'] and not adapters
            return
        if name in DETECTORS:
            c, outs = model.student.neck.out_channels, model.student.neck.num_outs
            block = [(c, c, 3, 3), (c,)] * 2
            levels = min(
                outs,
                4
                if hasattr(model.student, 'rpn_head')
                else dict(pkd=4, fbkd=3).get(name.split('_')[0], outs),
            )
            assert (
                len(model.distiller.distill_losses) == levels
                or name.startswith('fbkd')
                and name.endswith('scenescoco')
            )
            expected = dict(dmkd=[(2,), *block, *block] * levels, mgd=block * levels, cwd=[], pkd=[])
            assert adapters == expected.get(name.split('_')[0], adapters)
            return
        # C2VKD's pooled vector has 512 channels, the last stages have 64
        expected = {
            'i2ckd': [(16, 8)],
            'c2vkd': [(16, 8, 1, 1), (512, 8), (512,)],
            'c2vkd-paper': [(64, 64, 1, 1), (512, 64), (512,)],
        }
        assert adapters == expected.get(name.split('_')[0], [])


ONE_OF_EACH = [
    name
    for name in FILES
    if ('camvid' in name and name not in BASELINES)
    or FILES[name].parent.name == 'peers'
    or name in DETECTORS
    or name.startswith(('i2ckd_pspnet_r101', 'c2vkd', 'lix'))
    and 'voc12aug' not in name
    and 'ade20k' not in name
    or name.startswith('bcd')
] + [
    n
    for n in BASELINES
    if any(data in n for data in ('camvid', 'ade20k', 'nyuv2', 'scenesrgbd', 'coco-stuff'))
]


@pytest.mark.parametrize('name', ONE_OF_EACH)
def test_one_step_of_each_family(name):
    torch.manual_seed(0)
    model = build_small(name)
    model.init_weights()
    model.train()
    student = model.architecture if name in DISTILLED else model
    before = copy.deepcopy(student.state_dict())
    for part in getattr(model, 'inherit', []):
        given = model.teacher.model.state_dict()
        assert all(
            torch.equal(value, given[key]) for key, value in before.items() if key.startswith(f'{part}.')
        )
    optim_wrapper = build_optim_wrapper(model, load(name).optim_wrapper)
    heads_of_teacher = []
    if (
        name in DETECTORS and name in DISTILLED
    ):  # the teacher stops after its neck: it needs neither head nor annotations
        for path, module in model.teacher.model.named_modules():
            if path.split('.')[0].endswith('head'):
                module.register_forward_pre_hook(lambda *_, path=path: heads_of_teacher.append(path))
    data = (
        detection_batch(name)
        if name in DETECTORS
        else batch(student.num_classes, channels=4 if 'duplex' in name else 3)
    )
    logs = model.train_step(data, optim_wrapper)
    assert all(torch.isfinite(torch.as_tensor(v)).all() for v in logs.values()), logs
    assert not heads_of_teacher
    head = (
        'decode_head.conv_seg'
        if name not in DETECTORS
        else 'roi_head'
        if hasattr(student, 'roi_head')
        else 'bbox_head'
    )
    for part in ('backbone', head):
        names = [n for n, _ in student.named_parameters() if n.startswith(part)]
        after = student.state_dict()
        assert any(not torch.equal(before[n], after[n]) for n in names), part
    if name in DISTILLED:
        method = FILES[name].parent.name
        arfd = [] if 'duplex-late' in name else ['arfd_0', 'arfd_1', 'arfd_2']
        terms = dict(
            peers=[name.split('_')[0]],
            c2vkd=['vlfd', 'pdd'],
            lix=['dwld', *arfd],
            bcd=['boundary', 'context'],
        ).get(method, [method])
        if method == 'dmkd':
            names = {id(p): n for n, p in model.named_parameters()}
            undecayed = {
                names[id(p)]
                for g in optim_wrapper.param_groups
                for p in g['params']
                if g['weight_decay'] == 0
            }
            assert undecayed == {f'distiller.distill_losses.{n}.fusion' for n in model.weights.base}
        if name in DETECTORS and method != 'bcd':
            terms = [f'{name.split("_")[0]}_{i}' for i in range(len(model.weights.base))]
        assert any(k.startswith('student.') for k in logs) == model.calculate_student_loss
        assert all(logs[f'distill.loss_{term}'] > 0 for term in terms)
        if method == 'i2ckd':
            assert {f'distill.i2ckd_{key}' for key in ('active', 'd_pos', 'D')} <= set(logs)
        assert not any(p.requires_grad or p.grad is not None for p in model.teacher.model.parameters())
