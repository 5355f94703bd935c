"""How many classes the networks of a config tell apart, without building them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, Finding
from kd_methods.datasets.entries import as_list, kind_of
from kd_methods.networks.config import is_distillation, resolve_model_cfg

# Where heads are, by what they classify.
_PLACES = dict(
    pixels=('decode_head', 'auxiliary_head'),
    objects=('bbox_head', 'mask_head', 'roi_head.bbox_head', 'roi_head.mask_head'),
)
_OTHER_CLASSES = ('STDCHead',)  # learns edges, whatever the data set's classes
_BY_TEXT = ('text_encoder', 'language_model')  # classes are words there, and num_classes their largest number
IGNORED = 255  # where no ignore_index is given, in mmseg


class Head(NamedTuple):
    """A head that classifies.

    Attributes:
        key (str): Of its number of classes: ``'model.decode_head.num_classes'``.
        classes (int): That number.
        cfg (dict): The head's config.
        unit (str): What it classifies: 'pixels' or 'objects'.
        teacher (bool): It is the teacher's.
    """

    key: str
    classes: int
    cfg: dict
    unit: str
    teacher: bool = False

    @property
    def ignored(self) -> Any:
        """The label that its losses leave out."""
        return self.cfg.get('ignore_index', IGNORED)

    def refuses(self, label: int) -> bool:
        """Whether its loss ends a training at a label: cross entropy does, which mmseg's heads take where
        none is given.
        """
        losses = [kind_of(loss) for loss in as_list(self.cfg.get('loss_decode')) if isinstance(loss, dict)]
        strict = 'CrossEntropyLoss' in losses or not any(key.startswith('loss') for key in self.cfg)
        return strict and label != self.ignored and label >= self.classes


def heads_of(cfg: Config, teacher: bool = True) -> list[Head]:
    """The heads of a config's network, or of its student and teacher.

    Args:
        cfg (Config): A plain config or one of a distillation.
        teacher (bool): With those of the teacher. Defaults to True.
    """
    model = cfg.get('model') or {}
    if not is_distillation(cfg):
        return list(_heads(model, 'model'))
    heads = []
    for name in ('architecture', 'teacher') if teacher else ('architecture',):
        if not isinstance(model.get(name), dict):
            continue
        entry = {
            k: v for k, v in model[name].items() if k != 'pretrained'
        }  # which asks for a name of a file to download
        heads += [
            head._replace(teacher=name == 'teacher')
            for head in _heads(resolve_model_cfg(entry, f'model.{name}'), f'model.{name}')
        ]
    return heads


def ignored_by(cfg: Config, split: str, heads: Sequence[Head]) -> dict[str, Any]:
    """The label that is ignored by each of those who get the labels of a split, by config key.

    In training these are the student's heads, else the metrics. mmseg's data sets have an ``ignore_index``
    too, which nobody asks."""
    if split == 'train':
        return {f'{head.key.removesuffix("num_classes")}ignore_index': head.ignored for head in heads}
    key = f'{split}_evaluator'
    metrics = cfg.get(key)
    many = isinstance(metrics, (list, tuple))
    return {
        f'{key}{f".{i}" if many else ""}.ignore_index': metric.get('ignore_index', IGNORED)
        for i, metric in enumerate(as_list(metrics))
        if kind_of(metric).endswith('IoUMetric')
    }


def judge_padding(cfg: Config, heads: Sequence[Head]) -> list[Finding]:
    """A note where small images would be padded with a label that ends the training."""
    entry = (cfg.get('model') or {}).get('data_preprocessor') or {}
    value = entry.get('seg_pad_val', 255)  # mmseg's default
    others = [head for head in heads if head.unit == 'pixels' and not head.teacher and head.refuses(value)]
    if not others or not (entry.get('size') or entry.get('size_divisor')):
        return []
    return [
        Finding(
            f'where an image has to be padded, its label gets model.data_preprocessor.seg_pad_val={value}, '
            f'at which the loss of {others[0].key.rpartition(".")[0]} (ignore_index={others[0].ignored}) '
            f'would stop. Set --cfg-options model.data_preprocessor.seg_pad_val={others[0].ignored}.',
            NOTE,
        )
    ]


def judge_heads(
    heads: Sequence[Head], classes: Sequence[str], keys: Sequence[str], name: str, labels: int | None
) -> list[Finding]:
    """Compare the heads with the classes of data sets.

    Args:
        heads (Sequence[Head]): Of the networks.
        classes (Sequence[str]): Names of the classes.
        keys (Sequence[str]): Of the data sets that have these classes.
        name (str): Class of the data set.
        labels (int | None): How many classes the data uses; None where that is not known.
    """
    findings = []
    for teacher in (False, True):
        others = [
            h
            for h in heads
            if h.teacher == teacher and h.classes != len(classes) and (h.classes, len(classes)) != (1, 2)
        ]
        if not others or not classes:
            continue
        text = (
            f'{" and ".join(f"{h.key}={h.classes}" for h in others)}, but {" and ".join(keys)} ({name}) '
            f'{"has" if len(keys) == 1 else "have"} {len(classes)} classes'
        )
        if teacher:
            findings.append(
                Finding(
                    f"{text}. Its features can teach all the same; losses on the teacher's logits cannot.",
                    NOTE,
                )
            )
            continue
        fewer = labels is not None and any(h.classes < labels for h in others)
        options = ' '.join(f'{h.key}={len(classes)}' for h in others)
        findings.append(
            Finding(
                f'{text}. Set --cfg-options {options}; or, if the network is right, name its classes in '
                f'{keys[0]}.metainfo=dict(classes=(...)).',
                STOPS if fewer else WRONG,
            )
        )
    return findings


def _heads(model: dict, key: str) -> Iterator[Head]:
    if any(name in model for name in _BY_TEXT):
        return
    for unit, path in [(unit, path) for unit, paths in _PLACES.items() for path in paths]:
        entry: Any = model
        for part in path.split('.'):
            entry = entry.get(part) if isinstance(entry, dict) else None
        many = isinstance(entry, (list, tuple))
        for i, head in enumerate(as_list(entry)):
            if (
                isinstance(head, dict)
                and isinstance(head.get('num_classes'), int)
                and kind_of(head) not in _OTHER_CLASSES
            ):
                yield Head(
                    f'{key}.{path}{f".{i}" if many else ""}.num_classes', head['num_classes'], head, unit
                )
