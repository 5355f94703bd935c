"""Classes of the networks against those of the data."""

import numpy as np
import pytest
from mmengine.config import Config
from raw_segmentation import config, data_set, head, label_map, put, write_split
from toys import write_config

from kd_methods.data_check.head_classes import heads_of


def keys(model: dict, teacher: bool = True) -> dict[str, int]:
    return {found.key: found.classes for found in heads_of(Config(dict(model=model)), teacher)}


def test_places_of_heads():
    assert keys(dict(decode_head=[head(3), head(4)], auxiliary_head=head(5))) == {
        'model.decode_head.0.num_classes': 3,
        'model.decode_head.1.num_classes': 4,
        'model.auxiliary_head.num_classes': 5,
    }
    assert keys(dict(bbox_head=dict(num_classes=6, type='A'), mask_head=dict(type='B'))) == {
        'model.bbox_head.num_classes': 6
    }
    assert keys(
        dict(
            roi_head=dict(bbox_head=[dict(num_classes=7, type='A')], mask_head=dict(num_classes=8, type='B'))
        )
    ) == {'model.roi_head.bbox_head.0.num_classes': 7, 'model.roi_head.mask_head.num_classes': 8}
    assert keys(dict()) == {}


def test_every_key_takes_an_override(small, wrong, quick):
    small.cfg.model = dict(
        type='CascadeEncoderDecoder', decode_head=[head(2), head(3)], auxiliary_head=[head(2)]
    )
    (text,) = wrong(small.cfg)
    assert text.startswith(
        'model.decode_head.0.num_classes=2 and model.auxiliary_head.0.num_classes=2, but '
        'train_dataloader.dataset and val_dataloader.dataset (BaseSegDataset) have 3 classes. Set '
        '--cfg-options '
    )
    options = text.split('--cfg-options ')[1].split(';')[0].split()
    small.cfg.merge_from_dict({key: int(value) for key, value in (option.split('=') for option in options)})
    assert wrong(small.cfg) == [] and quick(small.cfg) == ''


@pytest.fixture
def distillation(tmp_path):
    """A config of a student and a teacher that are files, of 3 and of 150 classes."""
    write_split(tmp_path, 'train', 4)
    for name, classes in dict(student=5, teacher=150).items():
        write_config(
            tmp_path / f'{name}.py',
            dict(
                default_scope='mmseg',
                model=dict(type='EncoderDecoder', decode_head=head(classes), auxiliary_head=head(classes)),
            ),
        )
    model = dict(
        type='FrozenTeacherDistill',
        distiller=dict(type='MethodDistiller'),
        architecture=dict(
            cfg_path=str(tmp_path / 'student.py'),
            decode_head=dict(num_classes=3),
            auxiliary_head=dict(num_classes=3),
        ),
        teacher=dict(cfg_path=str(tmp_path / 'teacher.py')),
    )
    return Config(dict(config(data_set(tmp_path, 'train')).to_dict(), model=model))


def test_student_and_teacher_are_read_from_their_files(distillation, notes, wrong, quick):
    """A teacher of other classes can teach features."""
    assert wrong(distillation) == [] and quick(distillation) == ''
    (note,) = notes(distillation)
    assert note.startswith(
        'model.teacher.decode_head.num_classes=150 and model.teacher.auxiliary_head.num_classes=150, but'
    )
    assert "losses on the teacher's logits cannot" in note


def test_a_student_of_other_classes(distillation, wrong, quick):
    distillation.model.architecture.auxiliary_head.num_classes = 2
    (text,) = wrong(distillation)
    assert '--cfg-options model.architecture.auxiliary_head.num_classes=3' in text
    assert quick(distillation).startswith('refused: model.architecture.auxiliary_head.num_classes=2, but ')
    distillation.merge_from_dict({'model.architecture.auxiliary_head.num_classes': 3})
    assert wrong(distillation) == []


def test_a_quick_look_needs_no_teacher(distillation, quick, tmp_path):
    (tmp_path / 'teacher.py').unlink()
    assert quick(distillation) == ''


def test_published_weights_are_not_asked_for(monkeypatch):
    import kd_methods.networks.config as networks

    def refuse(*args):
        raise AssertionError('asked for published weights')

    monkeypatch.setattr(networks, '_published_checkpoint', refuse)
    model = dict(
        architecture=dict(cfg_path='configs/baselines/pspnet_r18_scenes.py', pretrained=True),
        distiller=dict(),
    )
    assert set(keys(model).values()) == {11}


def with_values(small, *values: int) -> np.ndarray:
    """Write labels of the classes 0 to 2 and of these values for training; returns one."""
    for i, path in enumerate(sorted((small.root / 'train/labels').iterdir())):
        label = label_map(i)
        label[-1, 0] = 0
        for column, value in enumerate(values):
            label[0, column] = value
        put(path, label)
    return label


def trains(cfg: dict, label: np.ndarray) -> bool:
    """Whether mmseg's head computes its loss with a label."""
    import torch
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    built = MODELS.build(dict(cfg, in_channels=2, channels=2, num_convs=0, concat_input=False))
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(label.astype(np.int64))[None]))
    try:
        return bool(built.loss((torch.rand(1, 2, 4, 6),), [sample], {}))
    except (IndexError, AssertionError):
        return False


DEFAULT, SIGMOID = None, dict(type='CrossEntropyLoss', use_sigmoid=True)
DICE, LIST = dict(type='DiceLoss'), [dict(type='DiceLoss'), dict(type='CrossEntropyLoss')]


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
@pytest.mark.parametrize(
    'values, loss, ignored, said',
    [
        ((255,), DEFAULT, None, ''),
        ((255,), SIGMOID, None, ''),
        ((255,), DICE, None, ''),
        ((77,), DEFAULT, 77, ''),
        ((77,), LIST, 77, ''),
        ((77,), SIGMOID, 77, ''),
        ((200,), DEFAULT, None, 'refused'),
        ((200,), LIST, None, 'refused'),
        ((200,), SIGMOID, None, 'refused'),
        ((255,), DEFAULT, 77, 'refused'),
        ((77, 255), SIGMOID, 77, 'refused'),
        ((3,), DEFAULT, None, 'refused'),
        ((200,), DICE, None, 'warned'),
        ((255,), DICE, 77, 'warned'),
    ],
)
def test_a_run_is_refused_where_the_loss_of_a_head_stops(values, loss, ignored, said, small, quick):
    """Computed by mmseg's own head, with the labels that the check reads and whatever the data set says to be
    ignored.
    """
    label = with_values(small, *values)
    small.train.ignore_index = values[0]
    cfg = dict(
        type='FCNHead',
        num_classes=3,
        **(dict(loss_decode=loss) if loss else {}),
        **(dict(ignore_index=ignored) if ignored else {}),
    )
    small.cfg.model.decode_head = cfg
    assert trains(cfg, label) == (said != 'refused')
    assert quick(small.cfg).split(':')[0] == said


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
@pytest.mark.parametrize('value', [77, 255])
def test_what_one_head_alone_ignores_is_refused(value, small, quick):
    label = with_values(small, value)
    small.cfg.model.auxiliary_head = head(ignore_index=77)
    small.train.ignore_index = 77
    heads = (small.cfg.model.decode_head, small.cfg.model.auxiliary_head)
    assert not all(trains(cfg, label) for cfg in heads)
    said = quick(small.cfg)
    assert said.startswith('refused') and 'Expected: 0 to 2 (BaseSegDataset, reduce_zero_label=False)' in said
    assert 'pixels to ignore get the ignore_index of all heads and metrics' in said
    for cfg in heads:
        cfg.ignore_index = value
    assert quick(small.cfg) == ''


def test_a_head_that_refuses_counts_for_what_it_does_not_ignore(small, quick):
    """77 is foreign to a head whose loss takes anything; the one whose loss does not ignores it."""
    with_values(small, 77)
    small.cfg.model.update(decode_head=head(ignore_index=77), auxiliary_head=head())
    small.cfg.model.auxiliary_head.loss_decode = DICE
    assert quick(small.cfg).startswith('warned: ')


def test_metrics_ignore_what_they_are_told(small, quick, wrong):
    """mmseg's counts any other value as a pixel that is predicted wrongly, and does not stop."""
    for path in (small.root / 'val/labels').iterdir():
        put(path, np.where(label_map() == 255, 77, label_map()))
    small.cfg.val_evaluator = dict(type='IoUMetric')
    small.val.ignore_index = 77
    assert quick(small.cfg).startswith('warned: val_dataloader.dataset: ')
    assert 'Expected: 0 to 2, and 255 for ignored' in quick(small.cfg)
    small.cfg.val_evaluator.ignore_index = 77
    assert quick(small.cfg) == ''


def test_what_a_teacher_ignores_does_not_count(distillation, wrong):
    """It is trained on nothing."""
    distillation.model.teacher.decode_head = dict(ignore_index=77)
    assert wrong(distillation) == []
