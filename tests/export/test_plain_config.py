"""The student's config without this package."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

import kd_methods  # noqa: F401
from kd_methods.export.plain_config import NotPlain, plain_config, plain_metainfo, stock_dataset, to_plain

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]


def scenes(**keys):
    """A data set of this package."""
    return dict(
        type='SceneDataset',
        data_root='data/scenes',
        data_prefix=dict(img_path='i', seg_map_path='l'),
        pipeline=PIPELINE,
        **keys,
    )


def config(dataset, **keys):
    """A config of a plain model, with a part that reads weights from elsewhere."""
    model = dict(
        type='EncoderDecoder',
        pretrained='open-mmlab://resnet18_v1c',
        backbone=dict(type='ResNetV1c', depth=18, init_cfg=dict(type='Pretrained', checkpoint='x.pth')),
        decode_head=dict(type='FCNHead', init_cfg=dict(type='Normal', std=0.01)),
    )
    return Config(
        dict(
            default_scope='mmseg',
            model=model,
            test_dataloader=dict(batch_size=1, dataset=dataset),
            test_cfg=dict(type='TestLoop'),
            optim_wrapper=dict(type='OptimWrapper'),
            load_from='y.pth',
            **keys,
        )
    )


def test_keeps_what_a_trained_model_needs():
    """No training, no downloads; the pipeline also at the top, where mmseg's functions read it."""
    plain = plain_config(config(scenes(), custom_hooks=[dict(type='ExactResumeHook')], test_pipeline=[]))
    assert 'optim_wrapper' not in plain and 'load_from' not in plain and 'custom_hooks' not in plain
    assert plain.model.pretrained is None and plain.model.backbone.init_cfg is None
    assert plain.model.decode_head.init_cfg.type == 'Normal'
    assert [t.type for t in plain.test_pipeline] == ['LoadImageFromFile', 'PackSegInputs']


def test_dataset_becomes_a_stock_one():
    """Defaults of our class are written out."""
    dataset = plain_config(config(scenes(reduce_zero_label=True))).test_dataloader.dataset
    assert dataset.type == 'BaseSegDataset'
    assert dataset.img_suffix == '.png' and dataset.seg_map_suffix == '.png'
    assert dataset.reduce_zero_label is True and dataset.ignore_index == 255
    assert dataset.metainfo.classes[0] == 'background' and dataset.metainfo.palette[0] == [40, 40, 40]
    assert dataset.data_root == 'data/scenes'


def test_dataset_in_a_wrapper():
    """Inside of wrappers, too."""
    wrapped = dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=scenes())])
    plain = plain_config(config(wrapped))
    assert plain.test_dataloader.dataset.datasets[0].dataset.type == 'BaseSegDataset'
    assert len(plain.test_pipeline) == 2


def test_a_part_of_the_classes_has_no_stock_form():
    """Which labels become which needs the names of all classes."""
    assert stock_dataset(scenes(metainfo=dict(classes=('0', '1')))) is None


def test_custom_imports():
    """Those of the user stay, ours goes."""
    imports = dict(imports=['kd_methods', 'my_models'], allow_failed_imports=False)
    plain = plain_config(config(scenes(), custom_imports=imports))
    assert plain.custom_imports.imports == ['my_models']


def test_types_that_cannot_be_replaced():
    """A pipeline with a transform of this package keeps its data set, and imports the package."""

    @TRANSFORMS.register_module()
    class OurOwnTransform:
        pass

    OurOwnTransform.__module__ = 'kd_methods.somewhere'
    try:
        dataset = scenes()
        dataset['pipeline'] = [*PIPELINE, dict(type='OurOwnTransform')]
        plain = plain_config(config(dataset))
    finally:
        TRANSFORMS.module_dict.pop('OurOwnTransform')
    assert plain.test_dataloader.dataset.type == 'SceneDataset'
    assert plain.custom_imports.imports == ['kd_methods']


def test_validation_serves_without_a_test():
    """A config with validation only."""
    cfg = config(scenes())
    cfg.val_dataloader, cfg.val_cfg, cfg.val_evaluator = (
        cfg.test_dataloader,
        dict(type='ValLoop'),
        dict(type='IoUMetric'),
    )
    cfg.pop('test_dataloader'), cfg.pop('test_cfg')
    plain = plain_config(cfg)
    assert plain.test_dataloader.dataset.type == 'BaseSegDataset'
    assert plain.test_cfg.type == 'TestLoop' and plain.test_evaluator.type == 'IoUMetric'


def test_the_given_config_is_left_alone():
    """Nothing is changed in place."""
    cfg = config(scenes())
    before = cfg.pretty_text
    plain_config(cfg)
    assert cfg.pretty_text == before


def test_no_model():
    """A config that has none gets a sentence."""
    with pytest.raises(ValueError, match='no `model`'):
        plain_config(Config(dict(default_scope='mmseg')))


def test_to_plain():
    """Arrays and tensors become lists, tuples stay tuples, other objects are refused."""
    value = dict(a=np.arange(2), b=(np.float32(1.5), None), c=torch.ones(1), d=[True, 'x'])
    plain = to_plain(value)
    assert plain == dict(a=[0, 1], b=(1.5, None), c=[1.0], d=[True, 'x'])
    assert type(plain['a'][0]) is int and type(plain['b'][0]) is float
    with pytest.raises(NotPlain):
        to_plain(dict(a=object()))


def test_plain_metainfo():
    """Entries without a plain form are left out."""
    plain = plain_metainfo(dict(classes=('a', 'b'), palette=np.zeros((2, 3), int), other=object()))
    assert plain == dict(classes=['a', 'b'], palette=[[0, 0, 0], [0, 0, 0]])
    assert plain_metainfo(None) == {}
