"""What losses get as labels: the truth, the teacher's predictions, and what counts without any."""

import copy

import pytest
import torch
from mmengine.registry import MODELS

from kd_methods.distill.labels import COUNTED, from_batch

SEEN = []


@MODELS.register_module(force=True)
class NoteLabels(torch.nn.Module):
    """Keeps the labels that it gets."""

    def forward(self, logits, label):
        SEEN.append(label)
        return logits.square().mean()


def cfg(source='gt_sem_seg'):
    mapping = dict(logits=dict(recorder='t', from_student=True), label=dict(from_data=source))
    return dict(
        type='MethodDistiller',
        taps=dict(t='logits'),
        distill_losses=dict(loss_x=dict(type='NoteLabels')),
        loss_forward_mappings=dict(loss_x=mapping),
    )


@pytest.fixture
def half(batch):
    """A batch whose second image has no labels, and whose first has some ignored pixels."""
    data = batch(size=(64, 48))
    truth = copy.deepcopy([sample.gt_sem_seg.data for sample in data['data_samples']])
    truth[0][:, :8] = 255
    data['data_samples'][0].gt_sem_seg.data = truth[0]
    data['data_samples'][1].gt_sem_seg.data.fill_(255)
    data['data_samples'][1].set_metainfo(dict(unlabelled=True))
    return data


def step(model, data):
    """The labels that the loss got, and the teacher's logits, of a training step."""
    SEEN.clear()
    data = model.data_preprocessor(data, True)
    model(**data, mode='loss')
    with torch.no_grad():
        logits = model.teacher.model(data.get('teacher_inputs', data['inputs']), mode='tensor')
    return SEEN[-1], logits, data


def labels_of(logits, confidence, size):
    probability, label = logits.softmax(1).max(1)
    label[probability < confidence] = 255
    scale = size[0] // label.shape[1]
    return label.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def test_the_truth_alone(distill, half):
    label, _, data = step(distill(distiller=cfg()), half)
    assert torch.equal(label, from_batch(data, 'gt_sem_seg')) and (label[1] == 255).all()


@pytest.mark.parametrize('confidence', [0.0, 0.21, 1.0])
def test_of_the_teacher(distill, half, confidence):
    label, logits, data = step(distill(distiller=cfg(), labels='teacher', label_confidence=confidence), half)
    expected = labels_of(logits, confidence, label.shape[1:])
    expected[0, :8] = 255  # ignored by the truth
    expected[:, :, 48:] = 255  # padding
    assert torch.equal(label, expected)


def test_of_the_teacher_where_the_truth_has_none(distill, half):
    label, logits, data = step(distill(distiller=cfg(), labels='truth+teacher', label_confidence=0.0), half)
    truth, expected = from_batch(data, COUNTED), labels_of(logits, 0.0, label.shape[1:])
    known = half['data_samples'][0].gt_sem_seg.data[0]
    assert torch.equal(label[0, 8:, :48], truth[0, 8:, :48]) and torch.equal(
        label[0, 8:, :48], known[8:, :48]
    )
    assert torch.equal(label[1, :, :48], expected[1, :, :48]) and (label[:, :, 48:] == 255).all()


def test_void_of_a_labelled_image_stays_ignored(distill, half):
    """A person has looked at it and said nothing."""
    label, logits, _ = step(distill(distiller=cfg(), labels='truth+teacher', label_confidence=0.0), half)
    assert (label[0, :8, :48] == 255).all()


def test_what_counts_of_an_image_without_labels(distill, half):
    label, _, _ = step(distill(distiller=cfg(COUNTED)), half)
    assert (label[1, :, :48] == 0).all() and (label[1, :, 48:] == 255).all()
    assert (label[0, :8] == 255).all() and (label[0, 8:, :48] < 255).all()


def test_the_task_loss_takes_the_truth(distill, half):
    losses = []
    for labels in ('truth', 'teacher'):
        model = distill(distiller=cfg(), labels=labels, label_confidence=0.0)
        torch.manual_seed(0)
        losses.append(model(**model.data_preprocessor(copy.deepcopy(half), True), mode='loss'))
    assert torch.equal(losses[0]['student.decode.loss_ce'], losses[1]['student.decode.loss_ce'])


def test_mistakes_are_told(distill, segmentor):
    with pytest.raises(ValueError, match="model: labels='teachers' is not known.*'truth\\+teacher'"):
        distill(labels='teachers')
    with pytest.raises(ValueError, match='label_confidence must be a number from 0 to 1'):
        distill(label_confidence=90)
    feature = dict(type='FeatureKDDistiller')
    with pytest.raises(
        ValueError, match="model.labels='teacher': the student has 5 classes and the teacher 7"
    ):
        distill(labels='teacher', teacher=segmentor(8, classes=7), distiller=feature)
