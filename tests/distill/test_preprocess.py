import copy

import pytest
import torch
from mmengine.registry import MODELS

from kd_methods.distill.preprocess import PairedPreprocessor, pair_preprocessors, same_preprocessing

STUDENT = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=(64, 64),
    pad_val=0,
    seg_pad_val=255,
)
TEACHER = dict(STUDENT, mean=[103.53, 116.28, 100.0], std=[1.0, 57.0, 2.0], bgr_to_rgb=False, pad_val=7)


def build(cfg):
    return MODELS.build(copy.deepcopy(cfg))


@pytest.mark.parametrize('size', [(64, 64), (50, 61)])
def test_teacher_input_is_bit_equal_to_its_own_preprocessors(distill, batch, segmentor, size):
    """Other mean, std and channel order; smaller images are padded, after normalisation."""
    own = {k: v for k, v in TEACHER.items() if k not in ('type', 'size', 'seg_pad_val', 'pad_val')}
    cfg = segmentor(8, preprocessor=own)
    cfg['data_preprocessor']['pad_val'] = 7
    model = distill(teacher=cfg)
    seen = []
    model.teacher.model.backbone.register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    data = model.data_preprocessor(batch(size=size), True)
    model(**data, mode='loss')
    alone = build(cfg['data_preprocessor'])(batch(size=size), True)['inputs']
    assert torch.equal(seen[0], alone)
    assert not torch.equal(seen[0], data['inputs'])
    if size != (64, 64):
        assert (alone[..., size[0] :, :] == 7).all() and alone.shape[-2:] == (64, 64)


@pytest.mark.parametrize('size', [(64, 64), (50, 61)])
def test_student_input_and_labels_are_as_without_a_teacher(batch, size):
    pair = PairedPreprocessor(build(STUDENT), build(TEACHER))
    both, alone = pair(batch(size=size), True), build(STUDENT)(batch(size=size), True)
    assert torch.equal(both['inputs'], alone['inputs'])
    for first, second in zip(both['data_samples'], alone['data_samples']):
        assert torch.equal(first.gt_sem_seg.data, second.gt_sem_seg.data)
        assert first.pad_shape == second.pad_shape


def test_outside_training_only_the_students_input_is_made(batch):
    pair = PairedPreprocessor(build(STUDENT), build(TEACHER))
    assert set(pair(batch(), False)) == {'inputs', 'data_samples'}


def test_equal_preprocessing_is_shared(distill):
    model = distill()
    assert not isinstance(model.data_preprocessor, PairedPreprocessor)
    assert model.data_preprocessor is model.student.data_preprocessor


@pytest.mark.parametrize(
    'change',
    [
        dict(mean=[0.0, 0.0, 0.0]),
        dict(std=[1.0, 1.0, 1.0]),
        dict(bgr_to_rgb=False),
        dict(pad_val=3),
        dict(size=(32, 32)),
        dict(size=None, size_divisor=32),
    ],
)
def test_every_difference_counts(change):
    assert same_preprocessing(build(STUDENT), build(STUDENT))
    assert not same_preprocessing(build(STUDENT), build(dict(STUDENT, **change)))


def test_the_teacher_may_share_the_students_input_on_request(distill, batch, segmentor):
    teacher = segmentor(8, preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3))
    model = distill(teacher=teacher, teacher_preprocessor='student')
    assert 'teacher_inputs' not in model.data_preprocessor(batch(), True)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r'teacher.data_preprocessor.size is \(32, 32\).*size=\(64, 64\)'):
        pair_preprocessors(build(STUDENT), build(dict(STUDENT, size=(32, 32))))
    pair = pair_preprocessors(build(STUDENT), build(dict(STUDENT, size=None, size_divisor=48)))
    with pytest.raises(ValueError, match='would not correspond'):
        pair(dict(inputs=[torch.zeros(3, 64, 64)], data_samples=[_sample()]), True)


def test_random_batch_augments_are_refused_for_a_differing_pair():
    with pytest.raises(ValueError, match='batch_augments'):
        pair_preprocessors(build(STUDENT), build(dict(TEACHER, batch_augments=[dict()])))


def test_no_buffers_in_checkpoints(distill, segmentor):
    model = distill(teacher=segmentor(8, preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3)))
    assert not [k for k in model.state_dict() if 'preprocessor' in k]


def _sample():
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    return SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 64, 64, dtype=torch.long)))


@pytest.mark.parametrize('preprocessor', ['own', 'student'])
def test_copies_to_the_device_do_not_block(preprocessor, distill, segmentor, batch):
    """Of both networks' preprocessors, whatever their classes take."""
    teacher = segmentor(8)
    teacher['data_preprocessor']['mean'] = [1.0, 2.0, 3.0]
    model = distill(teacher=teacher, teacher_preprocessor=preprocessor)
    seen = []

    class Watched(torch.Tensor):
        def to(self, *args, non_blocking=False, **kwargs):
            seen.append(non_blocking)
            return super().to(*args, non_blocking=non_blocking, **kwargs)

    data = batch()
    data['inputs'] = [image.as_subclass(Watched) for image in data['inputs']]
    model.data_preprocessor(data, True)
    assert len(seen) >= 2 and all(seen)
