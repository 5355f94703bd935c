"""Look at all data sets that a config names."""

import warnings
from collections.abc import Sequence

from mmengine.config import Config

from kd_methods.data_check.findings import NOTE, STOPS, WRONG, DataReport, EntryReport, first_files, part_of
from kd_methods.data_check.head_classes import Head, heads_of, ignored_by, judge_heads
from kd_methods.data_check.objects import is_coco, look_at_coco
from kd_methods.data_check.paths import check_paths, missing_path, other_annotations
from kd_methods.data_check.scan import ScanBudget
from kd_methods.data_check.segmentation import look_at_segmentation
from kd_methods.data_check.wrappers import judge_wrappers
from kd_methods.datasets.entries import entries_of, owners

SPLITS = ('train', 'val', 'test')
SAMPLES = 4  # of each data set that a quick look reads


def check_datasets(cfg: Config, *splits: str) -> None:
    """Check the data of a run before anything is built, in about a second.

    All folders and lists have to be there; of data sets whose listing is known, all files are looked for and
    a few are read. Doubtful data, with which a run could go on, is a warning.

    Args:
        cfg (Config): A run's config.
        *splits (str): Which of 'train', 'val', 'test' the run reads.

    Raises:
        FileNotFoundError: A folder, a list or a file of the data sets does not exist.
        ValueError: Files cannot be read, or do not fit each other, the network or COCO's metric.
    """
    check_paths(cfg, *splits)
    findings = look(cfg, splits, ScanBudget(limit=SAMPLES, workers=1, quick=True)).findings
    more = '`python tools/data/check.py CONFIG` looks at every file.'
    for finding in sorted(findings, key=lambda finding: finding.level != STOPS):
        if finding.level == STOPS:
            text = f'{finding.text} {more}'
            raise FileNotFoundError(text) if finding.missing else ValueError(text)
        if finding.level == WRONG:
            warnings.warn(f'{finding.text} {more}', stacklevel=2)


def look(cfg: Config, splits: Sequence[str], budget: ScanBudget) -> DataReport:
    """Look at the data sets of some of 'train', 'val', 'test'."""
    seen = DataReport()
    heads = heads_of(cfg, teacher=not budget.quick)
    for entries in (entries for split in splits for entries in entries_of(cfg, split)):
        for entry in entries:
            report = EntryReport(entry, entry.cfg.get('_scope_') or cfg.get('default_scope'), budget)
            same = [r for r in seen.entries if (r.entry.cfg, r.entry.steps) == (entry.cfg, entry.steps)]
            if same:  # looked at already under another key
                report.same_as, report.images = same[0].entry.key, same[0].images
            else:
                _look_at(report, cfg, heads)
            seen.entries.append(report)
        found = other_annotations(cfg, entries)
        seen.others += [found] if found else []
    seen.others += [finding for split in splits for finding in judge_wrappers(cfg, split)]
    for group in seen.groups():
        seen.others += judge_heads([head for head in heads if head.unit == group[0].unit], group)
    learnt = {image for report in seen.entries if report.entry.split == 'train' for image in report.images}
    for report in seen.entries:
        own = report.entry.split != 'train' and report.same_as.partition('_')[0] in ('', 'train')
        both = [image for image in report.images if image in learnt] if own and not budget.quick else []
        if both:
            part = part_of(len(both), len(report.images), 'images')
            report.say(NOTE, f'{part} are images of the training too: {first_files(both)}.')
    return seen


def _look_at(report: EntryReport, cfg: Config, heads: list[Head]) -> None:
    entry = report.entry
    segmentation = 'mmseg.BaseSegDataset' in owners(entry.cls)
    if not segmentation and not is_coco(entry.cls):
        report.say(NOTE, f'not looked at: the type {entry.name} is not known here.')
    elif entry.remote:
        report.say(NOTE, 'not looked at: its files are not on this machine (backend_args, data_root).')
    elif missing := missing_path(entry):
        report.findings.append(missing)
    elif segmentation:
        trained = [head for head in heads if head.unit == 'pixels' and not head.teacher]
        look_at_segmentation(report, trained, ignored_by(cfg, entry.split, trained))
    else:
        look_at_coco(report)
