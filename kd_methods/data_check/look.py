"""Look at all data sets that a config names."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmengine.config import Config

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, EntryReport, Finding
from kd_methods.data_check.head_classes import Head, heads_of, ignored_by, judge_heads
from kd_methods.data_check.objects import is_coco, look_at_coco
from kd_methods.data_check.pairing import shared_images
from kd_methods.data_check.paths import check_paths, missing_path, other_annotations
from kd_methods.data_check.scan import ScanBudget
from kd_methods.data_check.segmentation import look_at_segmentation
from kd_methods.datasets.entries import Entry, entries_of, owners

SPLITS = ('train', 'val', 'test')
SAMPLES = 4  # of each data set that a quick look reads


@dataclass
class DataReport:
    """What was seen of a config's data.

    Attributes:
        entries (list[EntryReport]): Of each data set.
        others (list[Finding]): Sentences about more than one data set.
    """

    entries: list[EntryReport] = field(default_factory=list)
    others: list[Finding] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """All sentences."""
        return [finding for report in self.entries for finding in report.findings] + self.others

    def groups(self) -> list[list[EntryReport]]:
        """The data sets that count the same and have the same classes."""
        found: dict[tuple, list[EntryReport]] = {}
        for report in self.entries:
            if report.classes:
                found.setdefault((report.unit, report.classes), []).append(report)
        return list(found.values())


def check_datasets(cfg: Config, *splits: str) -> None:
    """Check the data of a run before anything is built, in about a second.

    All folders and lists have to be there; of data sets whose listing is known, all files are looked for and
    a few are read. Doubtful data, with which a run could go on, is a warning.

    Args:
        cfg (Config): A run's config.
        *splits (str): Which of 'train', 'val', 'test' the run reads.

    Raises:
        FileNotFoundError: A folder, a list or a file of the data sets does not exist.
        ValueError: Files cannot be read, or do not fit each other or the network; COCO's metric reads other
            annotations than the data set that is tested.
    """
    check_paths(cfg, *splits)
    findings = look(cfg, splits, ScanBudget(limit=SAMPLES, workers=1, quick=True)).findings
    more = '`python tools/data/check.py CONFIG` looks at every file.'
    for finding in findings:
        if finding.level == STOPS:
            text = f'{finding.text} {more}'
            raise FileNotFoundError(text) if finding.missing else ValueError(text)
    for finding in findings:
        if finding.level == WRONG:
            warnings.warn(f'{finding.text} {more}', stacklevel=2)


def look(cfg: Config, splits: Sequence[str], budget: ScanBudget) -> DataReport:
    """Look at the data sets of some splits.

    Args:
        cfg (Config): A run's config.
        splits (Sequence[str]): Of 'train', 'val', 'test'.
        budget (ScanBudget): How much is read.
    """
    seen = DataReport()
    heads = heads_of(cfg, teacher=not budget.quick)
    for split in splits:
        for entries in entries_of(cfg, split):
            for entry in entries:
                seen.entries.append(_same(entry, seen.entries) or _look_at(entry, cfg, heads, budget))
            found = other_annotations(cfg, entries)
            seen.others += [found] if found else []
    for group in seen.groups():
        those = [head for head in heads if head.unit == group[0].unit]
        seen.others += judge_heads(those, len(group[0].classes), group)
    measured = [r for r in seen.entries if r.entry.split != 'train'] if not budget.quick else []
    for first in (report for report in seen.entries if report.entry.split == 'train'):
        for second in measured:
            if second.same_as in ('', first.entry.key):
                shared_images(first, second)
    return seen


def _look_at(entry: Entry, cfg: Config, heads: list[Head], budget: ScanBudget) -> EntryReport:
    report, scope = EntryReport(entry), entry.cfg.get('_scope_') or cfg.get('default_scope')
    segmentation = 'mmseg.BaseSegDataset' in owners(entry.cls)
    if not segmentation and not is_coco(entry.cls):
        report.say(NOTE, f'not looked at: the type {entry.name} is not known here.')
        return report
    if entry.remote:
        report.say(NOTE, 'not looked at: its files are not on this machine (backend_args, data_root).')
        return report
    missing = missing_path(entry)
    if missing:
        report.findings.append(missing)
        return report
    if not segmentation:
        return look_at_coco(entry, scope, budget)
    trained = [head for head in heads if head.unit == 'pixels' and not head.teacher]
    return look_at_segmentation(entry, scope, trained, ignored_by(cfg, entry.split, trained), budget)


def _same(entry: Entry, reports: Sequence[EntryReport]) -> EntryReport | None:
    """A row for a data set that was looked at already under another key."""
    for report in reports:
        if not report.same_as and (report.entry.cfg, report.entry.steps) == (entry.cfg, entry.steps):
            return EntryReport(entry, images=report.images, same_as=report.entry.key)
    return None
