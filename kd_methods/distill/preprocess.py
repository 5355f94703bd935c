"""One raw batch, preprocessed for each of the two networks in its own way."""

import copy
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import nn

from kd_methods.distill.channels import ChannelLayout

#: Attributes that decide what a preprocessor of mmengine, mmseg or mmdet makes of an image.
_ATTRIBUTES = ('_enable_normalize', '_channel_conversion', 'bgr_to_rgb')
_ATTRIBUTES += ('pad_size_divisor', 'pad_value', 'size', 'size_divisor', 'pad_val')


class PairedPreprocessor(BaseDataPreprocessor):
    """Preprocesses one raw batch for two networks, each in its own way.

    In training the result has the student's ``inputs`` and ``data_samples`` and, as ``teacher_inputs``, what
    the teacher's own preprocessor makes of the same raw images: its channel order, its mean and std, and its
    padding, which is added after normalisation. Otherwise the result is the student's alone.

    Args:
        student (nn.Module): The student's preprocessor.
        teacher (nn.Module): The teacher's.
        layout (ChannelLayout | None): Which channels of the images each of them gets; None: all. Images that
            have the student's alone are taken outside of training. Defaults to None.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, layout: ChannelLayout | None = None) -> None:
        super().__init__()
        self.student, self.teacher, self.layout = student, teacher, layout

    def forward(self, data: Any, training: bool = False) -> Any:
        """Preprocess a batch as the dataloader gives it."""
        if not training:
            return self.student(self._of('student', data, given=True), training)
        # The annotations are padded in place, so the teacher's preprocessor gets its own; the images are only
        # read.
        teacher_data = dict(self._of('teacher', data), data_samples=copy.deepcopy(data.get('data_samples')))
        result: dict = self.student(self._of('student', data), training)
        teacher_inputs = self.teacher(teacher_data, training)['inputs']
        if teacher_inputs.shape[-2:] != result['inputs'].shape[-2:]:
            own, other = (tuple(x.shape[-2:]) for x in (result['inputs'], teacher_inputs))
            what = f"{other}, the student's to {own}, so their pixels would not correspond"
            example = 'teacher=dict(cfg_path=..., data_preprocessor=dict(size=...))'
            cure = f'Give both the same size and size_divisor, e.g. {example}'
            cure += ", or set teacher_preprocessor='student'."
            raise ValueError(f'teacher.data_preprocessor pads this batch to {what}. {cure}')
        result['teacher_inputs'] = teacher_inputs
        return result

    def _of(self, side: str, data: Any, given: bool = False) -> Any:
        if self.layout is None:
            return data
        return dict(data, inputs=self.layout.select(data['inputs'], side, given))


def pair_preprocessors(
    student: nn.Module | None, teacher: nn.Module | None, layout: ChannelLayout | None = None
) -> nn.Module | None:
    """A preprocessor for both: the student's alone where the teacher's does the same, without layout."""
    if layout is not None and any(type(p) in (BaseDataPreprocessor, type(None)) for p in (student, teacher)):
        why = 'so architecture and teacher both need a data_preprocessor in their configs'
        raise ValueError(f'model.inputs: each network normalises its own channels, {why}')
    if layout is None:
        nothing = teacher is None or student is None or type(teacher) is BaseDataPreprocessor
        if nothing or same_preprocessing(student, teacher):
            return student
    if getattr(student, 'batch_augments', None) or getattr(teacher, 'batch_augments', None):
        what = "which would change the two networks' images differently. Remove batch_augments, or set"
        cure = "teacher_preprocessor='student' if the teacher may see the student's normalisation."
        both = "teacher.data_preprocessor differs from the student's and one of them has batch_augments"
        raise ValueError(f'{both}, {what} {cure}')
    sizes = getattr(student, 'size', None), getattr(teacher, 'size', None)
    if sizes[0] is not None and sizes[1] is not None and tuple(sizes[0]) != tuple(sizes[1]):
        what = f"{tuple(sizes[1])}, the student's {tuple(sizes[0])}: their pixels would not correspond"
        cure = f'Set teacher=dict(cfg_path=..., data_preprocessor=dict(size={sizes[0]})).'
        raise ValueError(f'teacher.data_preprocessor.size is {what}. {cure}')
    return PairedPreprocessor(student, teacher, layout)


def teachers_images(preprocessor: nn.Module | None) -> str:
    """How the teacher's images are made of raw ones, as a text that differs where that differs."""
    own, layout = getattr(preprocessor, 'teacher', preprocessor), getattr(preprocessor, 'layout', None)
    found = {name: getattr(own, name, None) for name in (*_ATTRIBUTES, 'mean', 'std')}
    values = {k: v.flatten().tolist() if isinstance(v, torch.Tensor) else v for k, v in found.items()}
    return f'{type(own).__name__} {values} {None if layout is None else vars(layout)}'


def let_transfers_overlap(preprocessor: nn.Module | None) -> None:
    """Let copies to the device run beside the host: mmengine's option, which mmseg's classes do not take."""
    for module in preprocessor.modules() if preprocessor is not None else ():
        if isinstance(module, BaseDataPreprocessor):
            module._non_blocking = True  # mmengine's


def same_preprocessing(first: nn.Module, second: nn.Module) -> bool:
    """Whether two preprocessors make the same tensor of the same image."""
    if type(first) is not type(second):
        return False
    if any(getattr(first, name, None) != getattr(second, name, None) for name in _ATTRIBUTES):
        return False
    return all(_equal(getattr(first, name, None), getattr(second, name, None)) for name in ('mean', 'std'))


def _equal(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.shape == second.shape and bool((first.cpu() == second.cpu()).all())
