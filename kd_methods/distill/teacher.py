"""The frozen teacher: outside the module tree, always in eval mode, stopping at its last tap."""

import contextlib
import weakref
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from kd_methods.networks.checkpoint import LoadReport, extract_state_dict, fit_names, load_strict, safe_load
from kd_methods.networks.compiling import compile_parts
from kd_methods.networks.folding import fold_batch_norm, refold
from kd_methods.networks.probe import plain_forward
from kd_methods.networks.recording import CallRecorder, Records
from kd_methods.utils.text import first_few

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class FrozenTeacher:
    """Holds a network that is run but never trained.

    It is no ``nn.Module``, and that is the point: what holds it does not list it among its sub-modules, so
    the teacher is in no state_dict, optimizer, EMA average or DDP bucket, and ``train()`` never reaches it. A
    deep copy of its holder (EMA makes one) shares it.

    Args:
        model (BaseModel): The network. It is put in eval mode and its parameters stop requiring gradients.
        precision (str): ``'same'`` runs it in the precision of the surrounding code, ``'fp32'``, ``'bf16'``
            and ``'fp16'`` in that one. Defaults to ``'same'``.
        fold_bn (bool): Fold its batch norms into the convolutions before them, at the first step
            (:func:`~kd_methods.networks.folding.fold_batch_norm`). Defaults to False.
        channels_last (bool): Run it in torch's memory format of that name. Defaults to False.
        compiled (bool): Compile its parts between the taps, at the first step
            (:func:`~kd_methods.networks.compiling.compile_parts`). Defaults to False.

    Raises:
        ValueError: Unknown precision.
    """

    def __init__(
        self,
        model: BaseModel,
        precision: str = 'same',
        fold_bn: bool = False,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        if precision != 'same' and precision not in PRECISIONS:
            raise ValueError(f'teacher_precision: {precision!r} is none of {["same", *PRECISIONS]}.')
        self.model = model.eval().requires_grad_(False)
        self.precision, self.channels_last = precision, channels_last
        self.fold_bn, self.compiled, self._sped_up = fold_bn, compiled, False
        self.mode = 'tensor'
        # The algorithm that it moves with; copies of that (EMA) only share it.
        self.holder: weakref.ref | None = None
        self.recorder: CallRecorder | None = None  # set once the taps are known

    def __deepcopy__(self, memo: dict) -> 'FrozenTeacher':
        return self

    def load(self, path: str, trusted: bool = False) -> LoadReport:
        """Load weights from a file, strictly and safely (see :mod:`kd_methods.networks.checkpoint`).

        A full checkpoint of a distillation run gives the student that it trained.
        """
        state = extract_state_dict(safe_load(path, trusted, key='teacher_ckpt'))
        report = load_strict(self.model, fit_names(state, self.model.state_dict()), 'teacher', path)
        refold(self.model)
        self.check_finite(f'teacher_ckpt: {path}')
        self.model._is_init = True  # mmengine's: init_weights leaves it alone from now on
        return report

    def check_finite(self, source: str) -> None:
        """Raise where the teacher can only teach nan.

        Args:
            source (str): Where its weights come from, for the message.

        Raises:
            ValueError: Parameters, or running averages of batch norm, are infinite or not a number.
        """
        averages = (item for item in self.model.named_buffers() if 'running_' in item[0])
        weights = (*self.model.named_parameters(), *averages)
        bad = [name for name, value in weights if not torch.isfinite(value).all()]
        if bad:
            raise ValueError(
                f'{source}: weights of the teacher are inf or nan: {first_few(bad)}. Its training diverged: '
                'take an earlier checkpoint, or train it again.'
            )

    def run(
        self, inputs: Tensor, data_samples: list | None, watched: AbstractContextManager[Records]
    ) -> Records:
        """Run the teacher without gradients.

        Args:
            inputs (Tensor): Its images.
            data_samples (list | None): Their annotations.
            watched (AbstractContextManager): What records the pass, and may end it early.

        Returns:
            Records: What was recorded.
        """
        self.model.eval()
        self._speed_up()
        if self.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), self._autocast(inputs), watched as records:
            if self.mode == 'tensor':
                plain_forward(self.model, inputs, data_samples)
            else:
                self.model(inputs, data_samples, mode=self.mode)
        return records

    def _speed_up(self) -> None:
        """Change the network for speed, once, when its weights are there."""
        if self._sped_up:
            return
        self._sped_up = True
        read = self.recorder.places if self.recorder else ()
        if self.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if self.fold_bn and (count := fold_batch_norm(self.model, read)):
            print_log(f'Teacher: {count} batch norms are computed with their convolutions.', logger='current')
        if self.compiled:
            count = compile_parts(self.model, read)
            print_log(f'Teacher: {count} parts are compiled; the first steps take longer.', logger='current')

    def val_step(self, data: Any) -> list:
        """Predict with the teacher's own preprocessor (for validation loops that also test the teacher)."""
        return self.model.eval().val_step(data)

    def _autocast(self, inputs: Tensor) -> AbstractContextManager:
        if self.precision == 'same':
            return contextlib.nullcontext()
        if self.precision == 'fp32':
            return torch.autocast(inputs.device.type, enabled=False)
        return torch.autocast(inputs.device.type, dtype=PRECISIONS[self.precision])
