"""What losses read of a batch: images, fields of the annotations, and labels, those of the teacher too."""

from typing import Any, Literal

import torch
from mmengine.structures import PixelData
from torch import Tensor

from kd_methods.networks.heads import decode_head, ignored_label
from kd_methods.networks.probe import Probe
from kd_methods.networks.recording import Records
from kd_methods.networks.taps import Tap, resolve_tap
from kd_methods.ops.labels import resize_labels
from kd_methods.ops.reductions import full_precision

Labels = Literal['truth', 'teacher', 'truth+teacher']
#: ``from_data`` of losses that compare two networks and leave out ignored pixels: those of an image without
#: labels count, all but its padding.
COUNTED = 'counted'
#: Metainfo of a data sample without labels.
UNLABELLED = 'unlabelled'
LABEL = 'gt_sem_seg'


class LabelSource:
    """The labels that losses of a distiller read, where not the truth alone: what the teacher is sure of.

    Args:
        kind (str): ``'teacher'``, or ``'truth+teacher'``: the teacher's where the truth has none.
        confidence (float): Probability from which on a prediction of the teacher counts.
        teacher (Probe): Dry run of the teacher.
        student (Probe): The student's, whose head says which label is ignored.

    Raises:
        ValueError: The teacher has no logits of classes.
    """

    def __init__(self, kind: Labels, confidence: float, teacher: Probe, student: Probe) -> None:
        self.kind, self.confidence, self.ignored = kind, confidence, ignored_label(student.model)
        self.tap: Tap = resolve_tap(teacher, 'logits', 'model.labels')
        counts = [
            getattr(decode_head(model), 'num_classes', None) for model in (student.model, teacher.model)
        ]
        if counts[0] != counts[1]:
            what = f'the student has {counts[0]} classes and the teacher {counts[1]}'
            raise ValueError(f"model.labels={kind!r}: {what}, so its predictions are no labels. Set 'truth'")

    def __call__(self, records: Records, data: dict[str, Any]) -> Tensor:
        """Labels of a batch, (N, H, W), with the ignored label where none is known."""
        logits = full_precision(self.tap.read(records))
        # (N, K, h, w) -> class and probability of each place; nearest neighbour to the size of the images.
        if logits.shape[1] == 1:  # one sigmoid: classes 0 and 1
            positive = logits[:, 0].sigmoid()
            probability, label = torch.maximum(positive, 1 - positive), (positive > 0.5).long()
        else:
            probability, label = logits.softmax(1).max(1)
        label = label.masked_fill(probability < self.confidence, self.ignored)
        label = resize_labels(label, tuple(data['inputs'].shape[-2:]))
        # Neither padding nor what a person has left out.
        label = label.masked_fill(from_batch(data, COUNTED) == self.ignored, self.ignored)
        if self.kind == 'teacher':
            return label
        truth = from_batch(data, LABEL)
        return torch.where(truth != self.ignored, truth, label)


def from_batch(data: dict[str, Any], name: str) -> Any:
    """A part of the batch by name: ``inputs``, ``'counted'``, or a field of its data samples.

    Pixel maps come as one tensor, N x H x W (a single channel is dropped) or N x C x H x W; others as a list.
    """
    if name in data and name != 'data_samples':
        return data[name]
    if name == COUNTED:
        return _counted(data)
    values = []
    for sample in data.get('data_samples') or []:
        if name not in sample:
            cure = 'Load it in train_pipeline (LoadAnnotations) and keep it (PackSegInputs / PackDetInputs).'
            raise KeyError(f'from_data={name!r}: the data samples have {sorted(sample.keys())}. {cure}')
        values.append(sample.get(name))
    if values and all(isinstance(value, PixelData) for value in values):
        maps = torch.stack([value.data for value in values])
        return maps[:, 0] if maps.dim() == 4 and maps.size(1) == 1 else maps
    return values


def _counted(data: dict[str, Any]) -> Tensor:
    """Labels of a batch; an image without labels has class 0 on all of its pixels but the padding."""
    samples = data.get('data_samples') or []
    truth = from_batch({'data_samples': samples}, LABEL)
    free = [i for i, sample in enumerate(samples) if sample.metainfo.get(UNLABELLED)]
    truth = truth.clone() if free else truth
    for i in free:
        left, right, top, bottom = samples[i].metainfo.get('padding_size') or (0, 0, 0, 0)
        height, width = truth.shape[-2:]
        truth[i, ..., top : height - bottom, left : width - right] = 0
    return truth
