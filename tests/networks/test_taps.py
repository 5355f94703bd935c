import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from toys import tiny_beit
from toys_det import tiny_detector

from kd_methods.networks.config import build_network
from kd_methods.networks.probe import probe_network
from kd_methods.networks.recording import INPUTS, OUTPUTS, Call, Records
from kd_methods.networks.taps import resolve_tap


@pytest.fixture
def probe(segmentor):
    return lambda **kwargs: probe_network(MODELS.build(segmentor(4, **kwargs)), 'teacher', (64, 64))


def test_backbone_and_neck_roles_index_outputs(probe):
    found = probe()
    tap = resolve_tap(found, 'backbone.2')
    assert (tap.kind, tap.source, tap.data_idx, tap.shape) == (OUTPUTS, 'backbone', 2, (1, 16, 8, 8))
    assert resolve_tap(found, 'backbone.-1').data_idx == 3
    assert tap.channels == 16


def test_features_is_the_map_before_dropout(probe, segmentor):
    tap = resolve_tap(probe(), 'features')
    assert (tap.kind, tap.source, tap.shape) == (INPUTS, 'decode_head.dropout', (1, 8, 8, 8))


def test_features_without_dropout_is_the_classifiers_input(probe):
    tap = resolve_tap(probe(dropout=0), 'features')
    assert (tap.kind, tap.source, tap.shape) == (INPUTS, 'decode_head.conv_seg', (1, 8, 8, 8))


def test_features_takes_the_dropout_call_right_before_the_classifier(segmentor):
    model = MODELS.build(segmentor(4))
    head = model.decode_head
    plain = head.cls_seg

    def twice(feat):  # a head that also uses its dropout earlier and later
        head.dropout(feat)
        out = plain(feat)
        head.dropout(out)
        return out

    head.cls_seg = twice
    tap = resolve_tap(probe_network(model, size=(64, 64)), 'features')
    assert (tap.record_idx, tap.fires, tap.shape[1]) == (1, 3, 8)


def test_records_are_the_tensors_of_the_head(distill, batch, distiller_cfg):
    mapping = dict(
        preds_S=dict(recorder='f', from_student=True), preds_T=dict(recorder='f', from_student=True)
    )
    model = distill(
        distiller=dict(
            type='MethodDistiller',
            taps=dict(f='features', l='logits'),
            distill_losses=dict(loss_x=dict(type='L2Loss')),
            loss_forward_mappings=dict(
                loss_x=dict(s_feature=mapping['preds_S'], t_feature=mapping['preds_T'])
            ),
        )
    )
    seen = {}
    head = model.student.decode_head
    head.dropout.register_forward_hook(lambda m, i, o: seen.update(features=i[0]))
    head.conv_seg.register_forward_hook(lambda m, i, o: seen.update(logits=o))
    with model.recorder as records:
        model.student(torch.rand(2, 3, 64, 64), mode='tensor')
    taps = model.distiller.student_taps
    assert taps['f'].read(records) is seen['features'] and taps['l'].read(records) is seen['logits']


def test_module_paths_and_indices(probe):
    found = probe()
    assert resolve_tap(found, 'backbone.layer2.0.conv1').shape == (1, 8, 8, 8)
    assert resolve_tap(found, 'decode_head.convs.0').source == 'decode_head.convs.0'
    assert resolve_tap(found, 'module:decode_head.conv_seg').shape == resolve_tap(found, 'logits').shape


def test_cascaded_heads_use_the_last_one(segmentor):
    cfg = segmentor(4)
    head = cfg['decode_head']
    ocr = dict(
        type='OCRHead',
        in_channels=32,
        in_index=3,
        channels=8,
        ocr_channels=8,
        num_classes=5,
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.1,
        align_corners=False,
    )
    cfg.update(type='CascadeEncoderDecoder', num_stages=2, decode_head=[head, ocr])
    tap = resolve_tap(probe_network(MODELS.build(cfg), size=(64, 64)), 'logits')
    assert tap.source == 'decode_head.1.conv_seg'


@pytest.mark.parametrize(
    'name,error,text',
    [
        (
            'decode_head.botleneck',
            KeyError,
            "no module 'decode_head.botleneck' in the teacher (EncoderDecoder)",
        ),
        ('decode_head.conv_sge', KeyError, "Did you mean 'decode_head.conv_seg'"),
        ('backbone.7', ValueError, 'returns 4 outputs'),
        ('backbone', ValueError, 'add an index, backbone.0 to backbone.3'),
        ('decode_head.conv_seg.1', ValueError, 'only index 0 exists'),
        ('neck.0', KeyError, 'no module'),
        ('auxiliary_head.conv_seg', ValueError, 'auxiliary head, which runs for the loss alone'),
        ('decode_head', ValueError, 'calls it by another way'),
        (3, TypeError, 'a tap is a string'),
    ],
)
def test_mistakes_name_the_tap_and_the_cure(probe, name, error, text):
    with pytest.raises(error) as info:
        resolve_tap(probe(aux=True), name, 'model.distiller.taps.x')
    assert text in str(info.value) and 'model.distiller.taps.x' in str(info.value)


def test_a_head_without_classifier_lists_candidates(probe, monkeypatch):
    found = probe()
    del found.model.decode_head.conv_seg
    with pytest.raises(ValueError, match='has no classifier conv_seg.*decode_head.convs.0'):
        resolve_tap(found, 'features')


def test_a_place_behind_proposals_is_refused(probe):
    found = probe()
    found.model.roi_head = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match='behind the proposals'):
        resolve_tap(found, 'roi_head.0')


@pytest.fixture(scope='module')
def shared_head():
    """A RetinaNet, whose head is called once a level."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        return probe_network(build_network(tiny_detector('retinanet')))


def test_a_call_is_named_behind_an_at(shared_head):
    tap = resolve_tap(shared_head, 'bbox_head.retina_cls@1')
    assert (tap.record_idx, tap.calls, tap.shape[-1]) == (
        1,
        {1},
        8,
    ) and tap.place_name == 'bbox_head.retina_cls@1'
    assert resolve_tap(shared_head, 'module:bbox_head.retina_cls@-1').record_idx == tap.fires - 1 == 4
    assert resolve_tap(shared_head, 'bbox_head.cls_convs.0.conv@0').shape[-1] == 16


def test_all_calls_are_a_list(shared_head):
    tap = resolve_tap(shared_head, 'bbox_head.retina_cls@all')
    assert tap.calls == {*range(5)} and [shape[-1] for shape in tap.shape] == [16, 8, 4, 2, 1]
    assert tap.channels == tap.shape[0][1]
    assert [one.name for one in tap.each()] == [f'bbox_head.retina_cls@{i}' for i in range(5)]
    calls = {i: Call(i, torch.full((1,), i), []) for i in range(5)}
    assert [int(x) for x in tap.read(Records({tap.place: calls}))] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    'name, words',
    [
        (
            'bbox_head.retina_cls',
            r'calls this module 5 times .*@0 \(1x\d+x16x16\).*retina_cls@all takes each',
        ),
        ('bbox_head.retina_cls@5', r'called 5 times in a step \(0 to 4\)'),
        ('bbox_head.retina_cls@every', "number of a call, or all. Got: 'every'"),
    ],
)
def test_calls_that_are_not_chosen_or_not_there(shared_head, name, words):
    with pytest.raises(ValueError, match=words):
        resolve_tap(shared_head, name)


def test_a_tap_behind_a_failure_names_its_cause_and_no_auxiliary_head():
    probe = probe_network(build_network(tiny_beit(64)), 'teacher', (128, 128))
    with pytest.raises(ValueError) as info:
        resolve_tap(probe, 'decode_head.bottleneck', 'model.distiller.taps.x')
    text = str(info.value)
    assert '128 x 128' in text and 'RuntimeError' in text and 'model.dry_run_size' in text
    assert 'uxiliary' not in text
