"""Classes of the networks against those of the data."""
import pytest
from mmengine.config import Config
from raw_segmentation import config, data_set, head, write_split
from toys import write_config

from kd_methods.data_check.heads import heads_of


def keys(model: dict, teacher: bool = True) -> dict[str, int]:
    return {found.key: found.classes for found in heads_of(Config(dict(model=model)), teacher)}


def test_places_of_heads():
    assert keys(dict(decode_head=[head(3), head(4)], auxiliary_head=head(5))) == {
        'model.decode_head.0.num_classes': 3, 'model.decode_head.1.num_classes': 4, 'model.auxiliary_head.num_classes': 5}
    assert keys(dict(bbox_head=dict(num_classes=6, type='A'), mask_head=dict(type='B'))) == {'model.bbox_head.num_classes': 6}
    assert keys(dict(roi_head=dict(bbox_head=[dict(num_classes=7, type='A')], mask_head=dict(num_classes=8, type='B')))) == {
        'model.roi_head.bbox_head.0.num_classes': 7, 'model.roi_head.mask_head.num_classes': 8}
    assert keys(dict()) == {}


def test_every_key_takes_an_override(small, wrong, quick):
    small.cfg.model = dict(type='CascadeEncoderDecoder', decode_head=[head(2), head(3)], auxiliary_head=[head(2)])
    text, = wrong(small.cfg)
    assert text.startswith(
        'model.decode_head.0.num_classes=2 and model.auxiliary_head.0.num_classes=2, but train_dataloader.dataset and '
        'val_dataloader.dataset (BaseSegDataset) have 3 classes. Set --cfg-options ')
    options = text.split('--cfg-options ')[1].split(';')[0].split()
    small.cfg.merge_from_dict({key: int(value) for key, value in (option.split('=') for option in options)})
    assert wrong(small.cfg) == [] and quick(small.cfg) == ''


@pytest.fixture
def distillation(tmp_path):
    """A config of a student and a teacher that are files, of 3 and of 150 classes."""
    write_split(tmp_path, 'train', 4)
    for name, classes in dict(student=5, teacher=150).items():
        write_config(tmp_path / f'{name}.py', dict(default_scope='mmseg', model=dict(
            type='EncoderDecoder', decode_head=head(classes), auxiliary_head=head(classes))))
    model = dict(type='FrozenTeacherDistill', distiller=dict(type='MethodDistiller'), architecture=dict(
        cfg_path=str(tmp_path / 'student.py'), decode_head=dict(num_classes=3), auxiliary_head=dict(num_classes=3)),
        teacher=dict(cfg_path=str(tmp_path / 'teacher.py')))
    return Config(dict(config(data_set(tmp_path, 'train')).to_dict(), model=model))


def test_student_and_teacher_are_read_from_their_files(distillation, notes, wrong, quick):
    """A teacher of other classes can teach features."""
    assert wrong(distillation) == [] and quick(distillation) == ''
    note, = notes(distillation)
    assert note.startswith('model.teacher.decode_head.num_classes=150 and model.teacher.auxiliary_head.num_classes=150, but')
    assert "losses on the teacher's logits cannot" in note


def test_a_student_of_other_classes(distillation, wrong, quick):
    distillation.model.architecture.auxiliary_head.num_classes = 2
    text, = wrong(distillation)
    assert '--cfg-options model.architecture.auxiliary_head.num_classes=3' in text
    assert quick(distillation).startswith('refused: model.architecture.auxiliary_head.num_classes=2, but ')
    distillation.merge_from_dict({'model.architecture.auxiliary_head.num_classes': 3})
    assert wrong(distillation) == []


def test_a_quick_look_needs_no_teacher(distillation, quick, tmp_path):
    (tmp_path / 'teacher.py').unlink()
    assert quick(distillation) == ''


def test_published_weights_are_not_asked_for(monkeypatch):
    import kd_methods.core.networks as networks

    def refuse(*args):
        raise AssertionError('asked for published weights')

    monkeypatch.setattr(networks, '_published_checkpoint', refuse)
    model = dict(architecture=dict(cfg_path='configs/baselines/pspnet_r18_scenes.py', pretrained=True), distiller=dict())
    assert set(keys(model).values()) == {11}
