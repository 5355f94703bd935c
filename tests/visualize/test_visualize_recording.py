"""What is read from networks, and at which places."""

import copy
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from toys import SIZE, build_distillation, tiny_model
from toys_det import detection_batch, tiny_detector

from kd_methods.networks.config import build_network
from kd_methods.networks.probe import probe_network
from kd_methods.networks.taps import resolve_tap
from kd_methods.visualize.recording import Column, read_taps, record
from kd_methods.visualize.tap_pairs import Place, backbone_places, distiller_places, named_places


@pytest.fixture
def batch():
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)))
    return dict(inputs=[torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8)], data_samples=[sample])


@pytest.fixture
def distillation():
    both = dict(
        preds_S=dict(recorder='tap', from_student=True), preds_T=dict(recorder='tap', from_student=False)
    )
    teacher = tiny_model(8, 'BN')
    teacher['data_preprocessor'].update(mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=False)
    return build_distillation(
        tiny_model(4, 'BN'),
        dict(
            type='MethodDistiller',
            taps=dict(tap='features'),
            distill_losses=dict(loss_kd=dict(type='mmrazor.ChannelWiseDivergence')),
            student_recorders=dict(stages=dict(type='ModuleOutputs', source='backbone')),
            teacher_recorders=dict(stages=dict(type='ModuleOutputs', source='backbone')),
            connectors=dict(up=dict(type='mmrazor.ConvModuleConnector', in_channel=8, out_channel=16)),
            loss_forward_mappings=dict(loss_kd=dict(both, preds_S=dict(both['preds_S'], connector='up'))),
        ),
        teacher,
    )


def columns_of(model) -> list[Column]:
    pair = model.data_preprocessor
    return [
        Column('student', model.student.eval(), pair.student),
        Column('teacher', model.teacher.model, pair.teacher, 'teacher'),
    ]


def test_the_map_is_the_one_that_the_distillers_tap_records(distillation, batch):
    (place,) = distiller_places(distillation)
    assert place.label == 'features'
    leaf = distillation.distiller
    for column in columns_of(distillation):
        data = column.prepare(batch)
        recorder = distillation.recorder if column.side == 'student' else distillation.teacher.recorder
        with recorder as records, torch.no_grad():
            column.network.eval()(data['inputs'], data['data_samples'], mode='tensor')
        expected = getattr(leaf, f'{column.side}_taps')['tap'].read(records)
        (found,) = read_taps(column, batch, [place.of(column.side)], (SIZE, SIZE))
        assert found.data.equal(expected) and found.data.std() > 0


def test_the_teacher_gets_its_own_preprocessing(distillation, batch):
    seen = {}
    for column in columns_of(distillation):
        handle = column.network.backbone.register_forward_pre_hook(
            lambda m, x, side=column.side: seen.update({side: x[0]})
        )
        read_taps(column, batch, [resolve_tap(probe_network(column.network), 'backbone.0')], (SIZE, SIZE))
        handle.remove()
    image = batch['inputs'][0].float()
    assert torch.allclose(seen['teacher'][0], image / 255)
    own = distillation.student.data_preprocessor
    assert torch.allclose(seen['student'][0], (image.flip(0) - own.mean) / own.std, atol=1e-5)
    assert batch['inputs'][0].dtype == torch.uint8, 'and the batch is as it was'


def test_what_a_later_layer_does_in_place_is_not_drawn(batch):
    network = build_network(tiny_model(4, 'BN')).eval()
    probe = probe_network(network)
    tap = resolve_tap(probe, 'decode_head.bottleneck.bn')
    assert probe.firings[tap.source][0].outputs_changed
    data = network.data_preprocessor(copy.deepcopy(batch), False)
    behind = resolve_tap(probe, 'decode_head.bottleneck')
    found = record(
        network, data['inputs'], None, [tap, behind]
    )  # with a later tap, so that the run does not end before ReLU
    assert found[tap].min() < 0 and found[tap].clamp(min=0).equal(found[behind])


def test_the_run_ends_at_the_last_tap(batch):
    network = build_network(tiny_model(4, 'BN'))
    called = []
    network.decode_head.register_forward_hook(lambda *args: called.append(1))
    taps = [resolve_tap(probe_network(network), name) for name in ('backbone.3', 'backbone.1')]
    called.clear()
    column = Column('network', network, network.data_preprocessor)
    maps = read_taps(column, batch, taps, (SIZE, SIZE))
    assert not called and [m.data.shape[1] for m in maps] == [32, 8] and not network.training
    assert not any(m._forward_hooks for m in network.backbone.modules()), 'nothing is left behind'


def test_a_transformers_maps_and_tokens(batch):
    cfg = Config.fromfile('configs/baselines/segformer_mit-e16_scenes.py').model
    network = build_network(dict(cfg, backbone=dict(cfg.backbone, init_cfg=None))).eval()
    probe = probe_network(network, size=(SIZE, SIZE))
    places = [
        *backbone_places(probe),
        *named_places(['backbone.layers.0.1.0', 'backbone.layers.0.2'], probe, None),
    ]
    assert [place.label for place in places[:4]] == [f'backbone.{i}' for i in range(4)]
    *maps, block, norm = read_taps(
        Column('network', network, network.data_preprocessor),
        batch,
        [place.student for place in places],
        (SIZE, SIZE),
    )
    assert [m.size for m in maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert norm.data.equal(maps[0].data) and block.size == (16, 16)


def test_a_detectors_padding_is_known():
    network = build_network(tiny_detector('retinanet')).eval()
    data = detection_batch(((50, 70),))  # of a file of twice that size
    column = Column('network', network, network.data_preprocessor)
    tap = resolve_tap(probe_network(network), 'neck.0')
    (found,) = read_taps(column, data, [tap], (100, 140))
    assert found.geometry.padded == (64, 96) and found.size == (8, 12)
    assert tuple(found.inside().shape[-2:]) == (7, 9) and found.geometry.cover(found.size) == (112, 144)


def test_a_shared_head_is_read_at_the_call_that_is_named():
    network = build_network(tiny_detector('retinanet')).eval()
    probe = probe_network(network)
    data = network.data_preprocessor(detection_batch(((SIZE, SIZE),)), False)
    taps = [resolve_tap(probe, f'bbox_head.retina_cls@{i}') for i in (2, 0, 1)]
    found = record(network, data['inputs'], data['data_samples'], taps)
    assert [found[tap].shape[-1] for tap in taps] == [2, 8, 4]
    with pytest.raises(ValueError, match='bbox_head.retina_cls.*did not fire'):
        record(network, data['inputs'], data['data_samples'], [replace(taps[0], record_idx=9)])


def test_recorders_of_mmrazor_are_places_too(distillation):
    leaf, both = distillation.distiller, dict(recorder='stages', record_idx=0)
    leaf.loss_forward_mappings['loss_stages'] = dict(
        S=dict(both, from_student=True), T=dict(both, from_student=False), label=dict(from_data='gt_sem_seg')
    )
    leaf.loss_forward_mappings['loss_again'] = dict(S=dict(both, from_student=True, data_idx=1))
    leaf.distill_losses.update(
        {name: leaf.distill_losses['loss_kd'] for name in ('loss_stages', 'loss_again')}
    )
    distillation.connections[0].connect()
    places = distiller_places(distillation)
    assert [place.label for place in places] == [
        'backbone.0',
        'backbone.1',
        'backbone.1',
        'backbone.2',
        'backbone.3',
        'features',
    ]
    assert places[0].teacher.shape[1] == 8 and places[0].student.shape[1] == 4
    assert [place.teacher is None for place in places] == [False, False, True, False, False, False]


def test_named_places(distillation):
    student, teacher = distillation.probes
    places = named_places(
        [
            'backbone.-1',
            'backbone.3',
            'features',
            'backbone.3:backbone.2',
            'module:backbone.layer1:module:backbone.layer2',
        ],
        student,
        teacher,
    )
    assert [place.label for place in places] == [
        'backbone.-1',
        'features',
        'backbone.3 : backbone.2',
        'module:backbone.layer1 : module:backbone.layer2',
    ]
    assert places[2].student.data_idx == 3 and places[2].teacher.data_idx == 2
    assert named_places(['logits'], student, None) == [Place(resolve_tap(student, 'logits'))]


@pytest.mark.parametrize(
    'name, error, text',
    [
        ('backbone.9', ValueError, '--taps: .*out of range'),
        ('backbon.3', KeyError, '--taps: no module .*Did you mean'),
        ('a:b:c', ValueError, r"--taps a:b:c: expected a tap such as 'backbone.3', or student:teacher"),
        ('backbone.3:', ValueError, 'expected a tap'),
        ('backbone.3:backbone.2', ValueError, '--taps .*a plain config has no teacher'),
        (
            'decode_head.psp_modules.0.0',
            ValueError,
            r'--taps: .*1x32x1x1, no map N x C x H x W of several places',
        ),
    ],
)
def test_places_that_are_none(distillation, name, error, text):
    with pytest.raises(error, match=text):
        named_places([name], distillation.probes[0], None)
