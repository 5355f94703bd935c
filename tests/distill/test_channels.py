import pytest
import torch
from mmengine.registry import MODELS
from test_preprocess import STUDENT, build

from kd_methods.distill.channels import ChannelLayout, channel_layout, keep_order
from kd_methods.distill.preprocess import PairedPreprocessor
from kd_methods.export.plain_config import plain_config
from kd_methods.export.student_config import student_config
from kd_methods.networks.config import load_config
from kd_methods.rgbx import RGBXDataPreProcessor

RGBX = dict(STUDENT, type=RGBXDataPreProcessor, x_mean=[100.0], x_std=[50.0])


def images(channels=4, size=(64, 64)):
    g = torch.Generator().manual_seed(0)
    return [256 * torch.rand(channels, *size, generator=g) for _ in range(2)]


def test_defaults_are_the_first_part_and_all():
    layout = ChannelLayout.parse(dict(channels=dict(rgb=3, x=1)))
    batch = images()
    assert all(a.equal(b[:3]) for a, b in zip(layout.select(batch, 'student'), batch))
    assert all(a.equal(b) for a, b in zip(layout.select(batch, 'teacher'), batch))
    assert (layout.count('student'), layout.count('teacher')) == (3, 4)


def test_parts_are_chosen_by_name_in_the_order_given():
    layout = ChannelLayout.parse(
        dict(channels=dict(rgb=3, depth=1, hha=3), student=['depth'], teacher=('hha', 'rgb'))
    )
    batch = torch.stack(images(7))
    assert layout.select(batch, 'student').equal(batch[:, 3:4])
    assert layout.select(batch, 'teacher').equal(torch.cat([batch[:, 4:], batch[:, :3]], 1))


def test_what_a_student_of_rgb_is_tested_with_loads_no_x():
    """Also where the pipelines of the distillation's validation do."""
    cfg = load_config('configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py')
    both = load_config('configs/_base_/datasets/scenesrgbd.py')
    pad = dict(type='PadRGBX', size=(96, 96))
    cfg.test_pipeline = [*both.test_pipeline[:2], pad, *both.test_pipeline[2:]]
    for name in ('val_dataloader', 'test_dataloader'):
        cfg[name] = both[name]
        cfg[name].dataset.pipeline = cfg.test_pipeline
    student = student_config(cfg)
    steps = [
        dict(type='LoadImageFromFile'),
        dict(pad, type='Pad'),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    assert (
        student.test_pipeline
        == student.test_dataloader.dataset.pipeline
        == student.val_dataloader.dataset.pipeline
        == steps
    )
    assert student.val_dataloader.dataset.data_prefix == dict(
        img_path='val/images', seg_map_path='val/labels'
    )
    assert 'custom_imports' not in plain_config(cfg)
    cfg.model.inputs.student = ['rgb', 'depth']  # one that sees it keeps it
    assert student_config(cfg).test_pipeline == cfg.test_pipeline


def test_own_channels_alone_pass_only_where_they_may():
    layout = ChannelLayout(dict(rgb=3, x=1))
    batch = images(3)
    assert all(a is b for a, b in zip(layout.select(batch, 'student', given=True), batch))
    with pytest.raises(
        ValueError,
        match=r"model.inputs: the images of the batch have 3 channels, expected 4: {'rgb': 3, 'x': 1}",
    ):
        layout.select(batch, 'student')
    with pytest.raises(ValueError, match='5 channels, expected 4'):
        layout.select(images(5), 'student', given=True)


@pytest.mark.parametrize(
    'cfg, error, text',
    [
        (4, TypeError, r'model.inputs: expected dict\(channels='),
        (dict(), KeyError, 'channels is missing'),
        (dict(channels=4), TypeError, 'model.inputs.channels: expected names'),
        (dict(channels=dict(rgb=0)), ValueError, '1 channel or more'),
        (dict(channels=dict(rgb=True)), ValueError, '1 channel'),
        (
            dict(channels=dict(rgb=3), student='depth'),
            KeyError,
            "model.inputs.student: expected some of .'rgb'.. Got: 'depth'",
        ),
        (dict(channels=dict(rgb=3), teacher=[]), KeyError, 'model.inputs.teacher: expected some of'),
        (dict(channels=dict(rgb=3), pupil='rgb'), KeyError, "model.inputs takes no .'pupil'"),
    ],
    ids=str,
)
def test_mistakes_are_named(cfg, error, text):
    with pytest.raises(error, match=text):
        ChannelLayout.parse(cfg)


def test_each_network_gets_its_channels_as_its_own_preprocessor_makes_them(batch):
    pair = PairedPreprocessor(build(STUDENT), MODELS.build(dict(RGBX)), ChannelLayout(dict(rgb=3, x=1)))
    data = dict(batch(), inputs=images())
    rgb = [image[:3] for image in data['inputs']]
    out = pair(dict(batch(), inputs=images()), True)
    assert out['inputs'].equal(build(STUDENT)(dict(batch(), inputs=rgb), True)['inputs'])
    assert out['teacher_inputs'].equal(MODELS.build(dict(RGBX))(data, True)['inputs'])
    # At test, with X in the images or without.
    for given in (images(), rgb):
        assert pair(dict(inputs=given), False)['inputs'].equal(
            build(STUDENT)(dict(inputs=rgb), False)['inputs']
        )
    with pytest.raises(ValueError, match='3 channels, expected 4'):
        pair(dict(batch(), inputs=rgb), True)


class Takes(torch.nn.Module):
    """A network of so many channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(channels, 1, 1)


@pytest.mark.parametrize(
    'student, teacher', [(3, 4), (4, 3), (3, 6), (3, 5), (1, 4), (4, 1), (2, 5)], ids=lambda n: str(n)
)
def test_the_advice_is_a_layout_that_fits(student, teacher):
    with pytest.raises(ValueError, match='model.inputs is missing') as caught:
        channel_layout(None, Takes(student), Takes(teacher), 'own')
    assert f'the student takes {student} channels, the teacher {teacher}' in str(caught.value)
    cfg = eval(str(caught.value).partition('inputs=')[2], {})
    layout = channel_layout(cfg, Takes(student), Takes(teacher), 'own')
    assert (layout.count('student'), layout.count('teacher')) == (student, teacher)


@pytest.mark.parametrize('student, teacher', [(1, 3), (3, 1), (1, 2), (4, 6)], ids=lambda n: str(n))
def test_where_no_layout_fits_none_is_advised(student, teacher):
    with pytest.raises(ValueError, match='but one batch feeds both: give both one number') as caught:
        channel_layout(None, Takes(student), Takes(teacher), 'own')
    assert 'inputs=' not in str(caught.value)


def test_order_of_the_channels_survives_a_written_config(tmp_path):
    """mmengine sorts the keys of what it writes; depth would then be the first part, and the student's."""
    cfg = load_config('configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py')
    assert list(cfg.model.inputs.channels) == ['rgb', 'depth']
    keep_order(keep_order(cfg)).dump(str(tmp_path / 'written.py'))
    again = load_config(tmp_path / 'written.py').model.inputs
    layout = ChannelLayout.parse(again)
    assert layout.channels == dict(rgb=3, depth=1) and list(layout.channels) == ['rgb', 'depth']
    assert layout.parts['student'] == ['rgb']


@pytest.mark.parametrize('channels', [['rgb', 'x'], [('rgb', 3, 1)], [(3, 'rgb')], 'rgb', []])
def test_pairs_that_are_none(channels):
    with pytest.raises(TypeError, match=r'model.inputs.channels: expected names, such as dict\(rgb=3, x=1\)'):
        ChannelLayout(channels)
