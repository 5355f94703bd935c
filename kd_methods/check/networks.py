"""What a check says about networks: size, cost, start weights, preprocessing, and how good the teacher is."""

import math
import os.path as osp
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.analysis import FlopAnalyzer
from mmengine.model import BaseModel
from mmengine.runner import checkpoint as urls
from torch import Tensor, nn

from kd_methods.check.batch import label_map
from kd_methods.distill.preprocess import PairedPreprocessor, same_preprocessing
from kd_methods.networks.config import build_network, clear_pretrained, reads_weights, resolve_model_cfg
from kd_methods.networks.heads import decode_head, part_of
from kd_methods.networks.probe import dry_run_input, dry_run_samples, plain_forward
from kd_methods.networks.recording import tensors_of
from kd_methods.utils.errors import describe_error


def describe(network: BaseModel) -> str:
    """Types of a network and of its parts, e.g. ``EncoderDecoder: ResNetV1c + PSPHead``."""
    names = ('backbone', 'neck', 'decode_head', 'rpn_head', 'bbox_head', 'roi_head')
    parts = [type(part).__name__ for name in names if (part := part_of(network, name)) is not None]
    return f'{type(network).__name__}: {" + ".join(parts)}' if parts else type(network).__name__


def parameter_count(module: nn.Module) -> int:
    """All parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def plain_network(cfg: Any, key: str) -> BaseModel:
    """A separate network in eval mode, without weights from files; the one that is trained stays as it is."""
    if isinstance(cfg, dict):
        cfg = resolve_model_cfg(cfg, key)
        clear_pretrained(cfg)
    return build_network(cfg, key).eval()


def count_flops(network: BaseModel, size: tuple[int, int]) -> tuple[float | None, str]:
    """Multiply-adds of a plain forward of one image, with mmengine's counter.

    Args:
        network (BaseModel): It is traced: give a separate one (:func:`plain_network`).
        size (tuple[int, int]): Height and width of the image.

    Returns:
        tuple[float | None, str]: The count, and why there is none.
    """
    try:
        analyzer = FlopAnalyzer(_Traced(network, size), (dry_run_input(network, size),))
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with torch.no_grad():
            return float(analyzer.total()), ''
    except Exception as error:  # tracing does not take every network, and is no reason to end a check
        return None, describe_error(error).splitlines()[0]


class _Traced(nn.Module):
    """A network as the tracer wants it: one tensor in, tensors out."""

    def __init__(self, network: BaseModel, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.samples = dry_run_samples(network, size)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensors_of(plain_forward(self.network, inputs, self.samples)))


def skip_downloads(model: nn.Module) -> list[str]:
    """Take away, in place, start weights that would first be downloaded; returns their names."""
    skipped = []
    for module in model.modules():
        init = getattr(module, 'init_cfg', None)
        if not init or getattr(module, '_is_init', False):
            continue
        entries = list(init) if isinstance(init, (list, tuple)) else [init]
        remote = [e for e in entries if reads_weights(e) and not _is_here(str(e.get('checkpoint')))]
        if remote:
            module.init_cfg = [e for e in entries if e not in remote] or None
            skipped += [str(e['checkpoint']) for e in remote]
    return skipped


def _is_here(checkpoint: str) -> bool:
    """Whether a checkpoint is a file, or an address that is in torch's cache already."""
    if '://' not in checkpoint:
        return True  # a missing local file is an error that init_weights reports
    scheme, _, name = checkpoint.partition('://')
    if scheme in ('open-mmlab', 'openmmlab'):
        checkpoint = urls.get_external_models().get(name, '')
    elif scheme in ('torchvision', 'modelzoo'):
        checkpoint = urls.get_torchvision_models().get(name, '')
    return osp.isfile(osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(checkpoint.split('?')[0])))


def describe_preprocessing(model: nn.Module) -> tuple[str, list[str]]:
    """How the teacher's input is made, and what differs between the two networks' preprocessors."""
    shared = model.data_preprocessor
    own = model.teacher.model.data_preprocessor
    if isinstance(shared, PairedPreprocessor):
        return 'its own', _differences(shared.student, shared.teacher)
    if same_preprocessing(shared, own):
        return "shared: both networks' preprocessors do the same", []
    return "the student's, which differs from what it was trained with", _differences(shared, own)


def _differences(student: nn.Module, teacher: nn.Module) -> list[str]:
    found = []
    if type(student) is not type(teacher):
        found.append(f'type: student {type(student).__name__}, teacher {type(teacher).__name__}')
    for name in ('mean', 'std', '_channel_conversion', 'size', 'size_divisor', 'pad_size_divisor', 'pad_val'):
        values = [_plain(getattr(p, name, None)) for p in (student, teacher)]
        if name == '_channel_conversion':  # RGBXDataPreProcessor swaps by itself
            values = [getattr(p, 'bgr_to_rgb', value) for p, value in zip((student, teacher), values)]
        if values[0] != values[1]:
            label = 'channels swapped' if name == '_channel_conversion' else name
            found.append(f'{label}: student {values[0]}, teacher {values[1]}')
    return found


def _plain(value: Any) -> Any:
    return [round(v, 3) for v in value.flatten().tolist()] if isinstance(value, Tensor) else value


@dataclass
class Quality:
    """How well a segmentor does on a batch, against one that knows nothing."""

    loss: float  # cross-entropy a pixel
    chance: float  # that of equal probabilities, log K
    accuracy: float  # share of pixels that are right
    commonest: float  # share of pixels of the batch's most frequent class


def segmentation_quality(
    network: BaseModel, inputs: Tensor, samples: list, ignore_index: int = 255
) -> Quality | None:
    """Judge a segmentor with a softmax classifier on a preprocessed batch; None for anything else."""
    labels = label_map(samples)
    softmax = hasattr(network, 'encode_decode') and hasattr(decode_head(network), 'conv_seg')
    if labels is None or not softmax:
        return None
    with torch.no_grad():
        logits = network.encode_decode(inputs, [sample.metainfo for sample in samples])
    labels = labels.to(logits.device)
    if logits.shape[1] < 2:
        return None
    if logits.shape[-2:] != labels.shape[-2:]:
        logits = F.interpolate(logits, labels.shape[-2:], mode='bilinear')
    valid = labels != ignore_index
    if not valid.any() or int(labels[valid].max()) >= logits.shape[1]:
        return None
    loss = F.cross_entropy(logits.float(), labels, ignore_index=ignore_index)
    right = (logits.argmax(1) == labels)[valid].float().mean()
    commonest = labels[valid].bincount().max() / valid.sum()
    return Quality(float(loss), math.log(logits.shape[1]), float(right), float(commonest))
