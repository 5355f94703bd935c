import os

import pytest
import torch
from mmengine.registry import MODELS

from kd_methods.networks.checkpoint import extract_state_dict, load_strict, safe_load, student_state_dict


class Malicious:
    def __reduce__(self):
        return os.system, ('touch /tmp/kd_methods_was_here',)


@pytest.fixture
def model(segmentor):
    return MODELS.build(segmentor(4, aux=True))


def save(tmp_path, state, **extra):
    path = tmp_path / 'x.pth'
    torch.save(dict(state_dict=state, **extra), path)
    return path


def test_a_matching_file_is_loaded_and_reported(model, segmentor, tmp_path):
    other = MODELS.build(segmentor(4, aux=True))
    path = save(tmp_path, other.state_dict())
    report = load_strict(model, extract_state_dict(safe_load(path)), path=path)
    assert report.complete and len(report.matched) == len(model.state_dict())
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items())


def test_ddp_prefix_is_removed(model):
    state = extract_state_dict(dict(state_dict={f'module.{k}': v for k, v in model.state_dict().items()}))
    assert load_strict(model, state).complete


def test_old_files_without_batch_counters_load(model):
    state = {k: v for k, v in model.state_dict().items() if not k.endswith('num_batches_tracked')}
    state['data_preprocessor.mean'] = torch.zeros(3)
    assert load_strict(model, state).complete


def broken(model, kind, segmentor):
    state = dict(model.state_dict())
    if kind == 'missing':
        state.pop('backbone.layer1.0.conv1.weight')
    elif kind == 'unexpected':
        state['backbone.layer9.weight'] = torch.zeros(1)
    elif kind == 'shape':
        state['backbone.layer1.0.conv1.weight'] = torch.zeros(1, 2, 3, 3)
    elif kind == 'classes':
        state['decode_head.conv_seg.weight'] = torch.zeros(
            21, *state['decode_head.conv_seg.weight'].shape[1:]
        )
    elif kind == 'distillation':
        state = {f'architecture.{k}': v for k, v in state.items()}
    elif kind == 'wrapped':
        state = {f'net.model.{k}': v for k, v in state.items()}
    elif kind == 'part':
        state = {k.replace('backbone.', ''): v for k, v in state.items() if k.startswith('backbone.')}
    elif kind == 'no aux':
        state = {k: v for k, v in state.items() if 'auxiliary' not in k}
    return state


@pytest.mark.parametrize(
    'kind,text',
    [
        ('missing', 'missing in the file: backbone.layer1.0.conv1.weight'),
        ('unexpected', 'not in the model: backbone.layer9.weight'),
        ('shape', 'backbone.layer1.0.conv1.weight: file (1, 2, 3, 3), model (4, 4, 3, 3)'),
        ('classes', 'trained with 21 classes, the config says 5: set teacher.decode_head.num_classes=21'),
        ('distillation', 'full checkpoint of a distillation run'),
        ('wrapped', 'looks like a wrapped checkpoint, prefix "net.model."'),
        ('part', 'the model has them under "backbone."'),
        ('no aux', 'set teacher.auxiliary_head=None'),
    ],
)
def test_nothing_stays_unloaded_silently(model, segmentor, kind, text):
    with pytest.raises(ValueError) as info:
        load_strict(model, broken(model, kind, segmentor), 'teacher', 'some/file.pth')
    assert text in str(info.value) and 'some/file.pth' in str(info.value) and 'teacher' in str(info.value)


def test_the_teacher_takes_the_student_of_a_full_distillation_checkpoint(distill, segmentor, tmp_path):
    model = distill(student=segmentor(8))
    path = save(tmp_path, model.state_dict())
    assert model.teacher.load(str(path)).complete
    assert torch.equal(model.teacher.model.backbone.stem[0].weight, model.student.backbone.stem[0].weight)


def test_student_state_dict_leaves_plain_files_alone(model):
    state = model.state_dict()
    assert student_state_dict(state) is state
    full = {f'architecture.{k}': v for k, v in state.items()}
    full['distiller.x'] = torch.zeros(1)
    assert list(student_state_dict(full)) == list(state)


def test_code_in_a_file_is_refused_and_the_opt_in_is_named(tmp_path):
    path = save(tmp_path, {}, evil=Malicious())
    with pytest.raises(ValueError, match='could run code.*teacher_ckpt_trusted=True') as info:
        safe_load(path, key='teacher_ckpt')
    assert str(path) in str(info.value)
    assert not os.path.exists('/tmp/kd_methods_was_here')


def test_the_opt_in_loads_arbitrary_objects(tmp_path):
    path = save(tmp_path, {}, path=tmp_path)  # pathlib is not on the list
    with pytest.raises(ValueError, match='could run code'):
        safe_load(path)
    assert safe_load(path, trusted=True)['path'] == tmp_path


def test_a_missing_file_lists_what_is_there(tmp_path):
    save(tmp_path, {})
    with pytest.raises(FileNotFoundError, match="teacher_ckpt: no file .*best.pth.*holds \\['x.pth'\\]"):
        safe_load(tmp_path / 'best.pth', key='teacher_ckpt')


@pytest.mark.parametrize(
    'content,text',
    [
        (b'', 'no readable checkpoint'),
        (b'PK\x03\x04 truncated', 'no readable checkpoint'),
        (b'<html>not found</html>', '(no readable checkpoint|could run code)'),
    ],
)
def test_damaged_files_are_named(tmp_path, content, text):
    path = tmp_path / 'broken.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=text) as info:
        safe_load(path)
    assert 'broken.pth' in str(info.value)


def test_a_file_that_is_no_dict_is_named(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list'):
        safe_load(tmp_path / 'list.pth')


def test_other_schemes_are_refused():
    with pytest.raises(ValueError, match='only files and http'):
        safe_load('open-mmlab://resnet50')
