"""Look at all data sets that a config names."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmengine.config import Config

from kd_methods.data_check.coco import is_coco, look_at_coco
from kd_methods.data_check.findings import NOTE, Finding
from kd_methods.data_check.heads import Head, heads_of, ignored_by, judge_heads, judge_padding
from kd_methods.data_check.pairing import shared_images
from kd_methods.data_check.paths import missing_place, other_annotations
from kd_methods.data_check.segmentation import look_at_segmentation
from kd_methods.data_check.splits import Effort, Split
from kd_methods.datasets.entries import Leaf, as_list, loaders, owners

SPLITS = ('train', 'val', 'test')


@dataclass
class Look:
    """What was seen of a config's data.

    Attributes:
        splits (list[Split]): Of each data set.
        others (list[Finding]): What is to say beyond single data sets.
    """

    splits: list[Split] = field(default_factory=list)
    others: list[Finding] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """All that is to say."""
        return [finding for split in self.splits for finding in split.findings] + self.others


def look(cfg: Config, splits: Sequence[str], effort: Effort) -> Look:
    """Look at the data sets of some splits.

    Args:
        cfg (Config): A run's config.
        splits (Sequence[str]): Of 'train', 'val', 'test'.
        effort (Effort): How much is looked at.
    """
    seen = Look()
    heads = heads_of(cfg, teacher=not effort.quick)
    for name in splits:
        for leaves in loaders(cfg, name):
            for leaf in leaves:
                seen.splits.append(_same(leaf, seen.splits) or _look_at(leaf, cfg, heads, effort))
            found = other_annotations(cfg, leaves)
            seen.others += [found] if found else []
    seen.others += _heads(seen.splits, heads) + judge_padding(cfg, heads)
    if not effort.quick:
        for first in seen.splits:
            for second in seen.splits:
                if first.leaf.split == 'train' != second.leaf.split and second.same_as in (
                    '',
                    first.leaf.key,
                ):
                    shared_images(first, second)
    return seen


def _look_at(leaf: Leaf, cfg: Config, heads: list[Head], effort: Effort) -> Split:
    split, scope = Split(leaf), leaf.cfg.get('_scope_') or cfg.get('default_scope')
    segmentation = 'mmseg.BaseSegDataset' in owners(leaf.cls)
    if not segmentation and not is_coco(leaf.cls):
        split.say(NOTE, f'not looked at: the type {leaf.name} is not known here.')
        return split
    if leaf.remote:
        split.say(NOTE, 'not looked at: its files are not on this machine (backend_args, data_root).')
        return split
    missing = missing_place(leaf)
    if missing:
        split.findings.append(missing)
        return split
    if not segmentation:
        return look_at_coco(leaf, scope, effort, as_list(cfg.get(f'{leaf.split}_evaluator')))
    trained = [head for head in heads if head.unit == 'pixels' and not head.teacher]
    return look_at_segmentation(leaf, scope, trained, ignored_by(cfg, leaf.split, trained), effort)


def _same(leaf: Leaf, splits: Sequence[Split]) -> Split | None:
    """A row for a data set that was looked at already under another key."""
    return next(
        (
            Split(leaf, images=split.images, same_as=split.leaf.key)
            for split in splits
            if not split.same_as and (split.leaf.cfg, split.leaf.steps) == (leaf.cfg, leaf.steps)
        ),
        None,
    )


def _heads(splits: Sequence[Split], heads: list[Head]) -> list[Finding]:
    groups: dict[tuple, list[Split]] = {}
    for split in splits:
        if split.classes:
            groups.setdefault((split.unit, split.classes), []).append(split)
    findings = []
    for (unit, classes), group in groups.items():
        used = [split.used for split in group if split.used is not None]
        findings += judge_heads(
            [head for head in heads if head.unit == unit],
            classes,
            [split.leaf.key for split in group],
            group[0].leaf.name,
            max(used, default=None),
        )
    return findings
