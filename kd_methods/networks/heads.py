"""Parts of a network: what a wrapper holds, and the head that says what its classes are."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn

_PATHS = ('decode_head', 'bbox_head', 'roi_head.bbox_head', 'panoptic_head', 'mask_head')


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside of a wrapper such as DDP; any other as it is."""
    return model.module if is_model_wrapper(model) else model


def part_of(network: Any, path: str) -> Any:
    """A part of a network, of a cascade the last one; None without it."""
    part = network
    for name in path.split('.'):
        part = getattr(part, name, None)
        part = part[-1] if isinstance(part, nn.ModuleList) and len(part) else part
    return part


def decode_head(network: Any) -> Any:
    """The decode head of a segmentor, of a cascade the last one; None without it."""
    return part_of(network, 'decode_head')


def class_count(network: Any) -> int | None:
    """Number of classes that a network tells apart; None where its head does not say."""
    counts = (getattr(part_of(network, path), 'num_classes', None) for path in _PATHS)
    return next((count for count in counts if isinstance(count, int)), None)


def ignored_label(network: Any) -> int:
    """Label that a segmentor's head ignores."""
    return getattr(decode_head(network), 'ignore_index', 255)


def is_detector(network: Any) -> bool:
    """Whether a network has a head of a detector."""
    return any(hasattr(network, name) for name in ('bbox_head', 'roi_head', 'panoptic_head'))
