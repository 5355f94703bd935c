import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from kd_methods.export.student_config import student_config
from kd_methods.networks.config import (
    build_network,
    check_network_values,
    clear_pretrained,
    is_distillation,
    load_config,
    resolve_model_cfg,
)

PSP = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'


def test_overrides_are_merged_deeply():
    cfg = resolve_model_cfg(dict(cfg_path=PSP, decode_head=dict(num_classes=11), auxiliary_head=None))
    assert cfg.decode_head.num_classes == 11 and cfg.decode_head.type == 'PSPHead'
    assert cfg.auxiliary_head is None and cfg._scope_ == 'mmseg'
    assert load_config(PSP).model.decode_head.num_classes == 19  # the source is not changed


def test_delete_replaces_instead_of_merging():
    head = dict(_delete_=True, type='FCNHead', in_channels=512, in_index=3, channels=8, num_classes=3)
    cfg = resolve_model_cfg(dict(cfg_path=PSP, decode_head=head))
    assert 'pool_scales' not in cfg.decode_head and cfg.decode_head.num_classes == 3


def test_an_override_may_add_what_the_class_takes():
    cfg = resolve_model_cfg(
        dict(cfg_path=PSP, decode_head=dict(ignore_index=7), backbone=dict(base_channels=8))
    )
    assert cfg.decode_head.ignore_index == 7 and cfg.backbone.base_channels == 8


@pytest.mark.parametrize(
    'override,text',
    [
        (
            dict(decode_head=dict(num_clases=11)),
            "architecture.decode_head.num_clases: PSPHead takes no 'num_clases'. Did you mean 'num_classes'",
        ),
        (dict(decod_head=dict(num_classes=11)), "Did you mean 'decode_head'"),
        (dict(backbone=dict(base_chanels=3)), "'base_channels'"),
    ],
)
def test_an_unknown_override_is_an_error(override, text):
    with pytest.raises(KeyError) as info:
        resolve_model_cfg(dict(cfg_path=PSP, **override))
    assert text in str(info.value)


def test_downloads_can_be_switched_off():
    on, off = (resolve_model_cfg(dict(cfg_path=PSP, pretrained=False, downloads=d)) for d in (True, False))
    assert on.pretrained == 'open-mmlab://resnet18_v1c' and off.pretrained is None
    nested = dict(
        a=[dict(init_cfg=dict(type='Pretrained', checkpoint='x'))],
        pvt=dict(init_cfg=dict(checkpoint='z')),
        init_cfg=[dict(type='Kaiming'), dict(type='Pretrained', checkpoint='y')],
    )
    clear_pretrained(nested)
    assert nested == dict(a=[dict(init_cfg=None)], pvt=dict(init_cfg=None), init_cfg=[dict(type='Kaiming')])


def test_pretrained_starts_from_the_packages_checkpoint():
    cfg = resolve_model_cfg(
        dict(cfg_path='mmseg::pspnet/pspnet_r50-d8_4xb2-80k_cityscapes-512x1024.py', pretrained=True)
    )
    assert cfg.init_cfg.type == 'Pretrained' and cfg.init_cfg.checkpoint.endswith('.pth')
    with pytest.raises(ValueError, match='only configs of a package'):
        resolve_model_cfg(dict(cfg_path='configs/baselines/pspnet_r18_scenes.py', pretrained=True))


def test_a_config_is_found_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('configs/baselines/pspnet_r18_scenes.py').model.type == 'EncoderDecoder'


def test_former_names_of_package_configs_are_found():
    assert load_config('mmdet::faster_rcnn/faster_rcnn_r50_fpn_1x_coco.py').model.type == 'FasterRCNN'


@pytest.mark.parametrize(
    'cfg,error,text',
    [
        (
            dict(cfg_path='configs/baselines/pspnet_r18_scens.py'),
            FileNotFoundError,
            "Did you mean .*'pspnet_r18_scenes.py'",
        ),
        (dict(cfg_path='mmseg::pspnet/nothing.py'), FileNotFoundError, "package 'mmseg' has no config"),
        (dict(cfg_path='configs/_base_/default_runtime.py'), ValueError, 'has no `model`'),
        (
            dict(cfg_path='configs/i2ckd/i2ckd_pspnet_r18_pspnet_r18-w16_scenes.py'),
            ValueError,
            'itself a distillation config',
        ),
        (dict(depth=18), KeyError, "neither 'cfg_path' nor 'type'"),
        ('configs/x.py', TypeError, 'expected a dict'),
    ],
)
def test_mistakes_are_named(cfg, error, text):
    with pytest.raises(error, match=text):
        resolve_model_cfg(cfg, 'model.architecture')


def test_a_built_network_passes_through_and_other_modules_do_not(segmentor):
    network = MODELS.build(segmentor())
    assert build_network(network) is network
    with pytest.raises(TypeError, match='expected a dict or a mmengine BaseModel'):
        build_network(network.backbone)


def test_sync_bn_becomes_bn_without_cuda(segmentor, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    network = build_network(segmentor(norm='SyncBN'))
    assert not [m for m in network.modules() if isinstance(m, torch.nn.SyncBatchNorm)]


def test_student_config_is_plain():
    cfg = Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='FrozenTeacherDistill',
                architecture=dict(cfg_path=PSP, decode_head=dict(num_classes=4)),
                teacher=dict(cfg_path=PSP),
                distiller=dict(type='X'),
            ),
            val_cfg=dict(type='mmrazor.SingleTeacherDistillValLoop'),
            custom_hooks=[dict(type='mmrazor.StopDistillHook'), dict(type='Y')],
        )
    )
    assert is_distillation(cfg)
    plain = student_config(cfg)
    assert not is_distillation(plain)
    assert plain.model.type == 'EncoderDecoder' and plain.model.decode_head.num_classes == 4
    assert plain.val_cfg.type == 'ValLoop' and [h.type for h in plain.custom_hooks] == ['Y']
    assert is_distillation(cfg)  # the given one is not changed


@pytest.mark.parametrize('kind', ['SegDataPreProcessor', 'mmdet.DetDataPreprocessor', 'ImgDataPreprocessor'])
@pytest.mark.parametrize('count', [4, 6])
def test_statistics_of_more_channels_need_another_preprocessor(kind, count, segmentation_scope):
    preprocessor = dict(type=kind, mean=[1.0] * count, std=[1.0] * count)
    with pytest.raises(ValueError, match='^model.data_preprocessor: .* of 1 channel or 3. Got: ') as caught:
        check_network_values(dict(type='EncoderDecoder', data_preprocessor=preprocessor), 'model')
    assert "type='RGBXDataPreProcessor'" in str(caught.value) and 'docs/rgbx.md' in str(caught.value)


def test_statistics_that_a_preprocessor_takes(segmentation_scope):
    rgbx = dict(type='RGBXDataPreProcessor', mean=[1.0] * 3, std=[1.0] * 3, x_mean=[0.0], x_std=[1.0])
    gray = dict(type='SegDataPreProcessor', mean=[1.0], std=[1.0])
    for preprocessor in (rgbx, gray, dict(gray, mean=[1.0] * 3), dict(type='SegDataPreProcessor')):
        check_network_values(dict(type='EncoderDecoder', data_preprocessor=preprocessor), 'model')
    with pytest.raises(ValueError, match='std=None'):
        check_network_values(dict(type='EncoderDecoder', data_preprocessor=dict(gray, std=None)), 'model')
