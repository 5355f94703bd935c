"""How many classes the networks of a config tell apart, without building them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, EntryReport, Finding
from kd_methods.datasets.entries import as_list, kind_of
from kd_methods.networks.config import is_distillation, resolve_model_cfg

# Where heads are; the others classify objects.
_PIXELS = ('decode_head', 'auxiliary_head')
_HEADS = (*_PIXELS, 'bbox_head', 'mask_head', 'roi_head.bbox_head', 'roi_head.mask_head')
_OTHER_CLASSES = ('STDCHead',)  # learns edges, whatever the data set's classes
_BY_TEXT = ('text_encoder', 'language_model')  # classes are words there, and num_classes their largest number
IGNORED = 255  # where no ignore_index is given, in mmseg


class Head(NamedTuple):
    """A head that classifies."""

    key: str  # of its number of classes: 'model.decode_head.num_classes'
    classes: int
    cfg: dict
    unit: str  # what it classifies: 'pixels' or 'objects'
    teacher: bool = False

    @property
    def ignored(self) -> Any:
        """The label that its losses leave out."""
        return self.cfg.get('ignore_index', IGNORED)

    def refuses(self, label: int) -> bool:
        """Whether its loss ends a training at a label: cross entropy does, mmseg's default."""
        losses = [kind_of(loss) for loss in as_list(self.cfg.get('loss_decode')) if isinstance(loss, dict)]
        strict = 'CrossEntropyLoss' in losses or not any(key.startswith('loss') for key in self.cfg)
        return strict and label != self.ignored and label >= self.classes


def heads_of(cfg: Config, teacher: bool = True) -> list[Head]:
    """The heads of a config's network, or of its student and teacher."""
    model = cfg.get('model') or {}
    if not is_distillation(cfg):
        return list(_heads(model, 'model'))
    heads = []
    for name in ('architecture', 'teacher') if teacher else ('architecture',):
        if isinstance(model.get(name), dict):
            entry = {key: value for key, value in model[name].items() if key != 'pretrained'}  # no download
            network = resolve_model_cfg(entry, f'model.{name}')
            heads += _heads(network, f'model.{name}', name == 'teacher')
    return heads


def _heads(model: dict, key: str, teacher: bool = False) -> Iterator[Head]:
    for path in _HEADS if not any(name in model for name in _BY_TEXT) else ():
        entry: Any = model
        for part in path.split('.'):
            entry = entry.get(part) if isinstance(entry, dict) else None
        for i, head in enumerate(as_list(entry)):
            place = f'{key}.{path}.{i}' if isinstance(entry, (list, tuple)) else f'{key}.{path}'
            classes = head.get('num_classes') if isinstance(head, dict) else None
            if isinstance(classes, int) and kind_of(head) not in _OTHER_CLASSES:
                unit = 'pixels' if path in _PIXELS else 'objects'
                yield Head(f'{place}.num_classes', classes, head, unit, teacher)


def ignored_by(cfg: Config, split: str, heads: Sequence[Head]) -> int | None:
    """The label that the student's heads (in training) or the metrics ignore; None where they disagree."""
    # mmseg's data sets have an ignore_index too, which neither asks.
    values = {head.ignored for head in heads}
    if split != 'train':
        metrics = [m for m in as_list(cfg.get(f'{split}_evaluator')) if kind_of(m).endswith('IoUMetric')]
        values = {metric.get('ignore_index', IGNORED) for metric in metrics}
    values = values or {IGNORED}
    return values.pop() if len(values) == 1 else None


def judge_heads(heads: Sequence[Head], reports: Sequence[EntryReport]) -> list[Finding]:
    """Compare the heads with the classes that data sets share."""
    findings, keys, count = [], [report.entry.key for report in reports], len(reports[0].classes)
    have = f'{" and ".join(keys)} ({reports[0].entry.name}) {"has" if len(keys) == 1 else "have"}'
    used = max(report.used for report in reports)
    for teacher in (False, True):
        others = [head for head in heads if head.teacher == teacher and head.classes != count]
        others = [head for head in others if (head.classes, count) != (1, 2)]  # one output for two classes
        if not others:
            continue
        text = f'{" and ".join(f"{head.key}={head.classes}" for head in others)}, but {have} {count} classes'
        options = ' '.join(f'{head.key}={count}' for head in others)
        level = STOPS if any(head.classes < used for head in others) else WRONG
        key = f'{keys[0]}.metainfo=dict(classes=(...))'
        cure = f'Set --cfg-options {options}; or, if the network is right, name its classes in {key}.'
        if teacher:
            level, cure = NOTE, "Its features can teach; losses on the teacher's logits cannot."
        findings.append(Finding(f'{text}. {cure}', level))
    return findings
