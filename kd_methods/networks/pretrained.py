"""``init_cfg=dict(type='Pretrained', ...)``: start weights that arrive, or an error.

mmengine loads them loosely: a file that fits nothing is taken without a word.
"""

from collections import OrderedDict
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModel, PretrainedInit
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import nn

from kd_methods.compat.checkpoint_files import trusted_files
from kd_methods.networks.checkpoint import extract_state_dict, load_part, with_versions


@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class StrictPretrainedInit(PretrainedInit):
    """Initialise a network or a part of one from a file.

    A whole network (a segmentor, a detector) is loaded strictly; a complete backbone alone will do. Of a
    part, what fits is loaded, and something must. The log has a line that counts what matched.

    Args:
        checkpoint (str): File or address.
        prefix (str | None): Take the weights below this prefix. Defaults to None, found by the names.
        map_location (str): Defaults to ``'cpu'``.
        trusted (bool): The file may hold arbitrary Python objects. Defaults to False.
    """

    def __init__(
        self, checkpoint: str, prefix: str | None = None, map_location: str = 'cpu', trusted: bool = False
    ) -> None:
        super().__init__(checkpoint, prefix, map_location)
        self.trusted = trusted

    def __call__(self, module: nn.Module) -> None:
        with trusted_files(self.trusted):
            content: Any = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location, 'silent')
        state = extract_state_dict(content)
        if self.prefix is not None:
            prefix = self.prefix.rstrip('.') + '.'
            state = with_versions(
                OrderedDict((k[len(prefix) :], v) for k, v in state.items() if k.startswith(prefix)),
                state,
                prefix,
            )
        report = load_part(module, state, self.checkpoint, whole=isinstance(module, BaseModel))
        count = f'{len(report.matched)} of {len(report.matched) + len(report.missing)} tensors matched'
        print_log(f'{type(module).__name__} starts from {self.checkpoint}: {count}, {report}', 'current')
        if hasattr(module, '_params_init_info'):  # mmengine's record of where each parameter comes from
            update_init_info(module, init_info=self._get_init_info())
