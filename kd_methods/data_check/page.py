"""The whole check of a config's data as a page."""

from collections.abc import Sequence

import numpy as np
from mmengine.config import Config

from kd_methods.data_check.findings import NOTE, EntryReport
from kd_methods.data_check.look import look
from kd_methods.data_check.scan import ScanBudget
from kd_methods.utils.report import Report, table
from kd_methods.utils.text import first_few


def check_data(
    cfg: Config, title: str, splits: Sequence[str], limit: int | None = None, workers: int | None = None
) -> Report:
    """Read the data sets of a whole config, and report; the ``exit_code`` is 1 where something is wrong.

    Args:
        cfg (Config): A whole config.
        title (str): Its name.
        splits (Sequence[str]): Of 'train', 'val', 'test'; one that the config has no loader for is left out.
        limit (int | None): Samples of each data set that are read, evenly spaced. Defaults to None, all.
        workers (int | None): Processes. Defaults to None, the number of cores.

    Raises:
        ValueError: The config names no data set.
    """
    seen = look(cfg, splits, ScanBudget(limit, workers))
    if not seen.entries:
        loaders = ' and '.join(f'{name}_dataloader' for name in splits)
        raise ValueError(f'CONFIG: {title} has no data set in {loaders}.')
    report = Report(f'Data of {title}')
    header = ('', 'type', 'images', 'labels', 'X', 'read', 'height x width', 'wrong')
    report.add('Data sets', table([_row(entry) for entry in seen.entries], header, right=(2, 3, 4, 5, 7)))
    report.notes += [finding.text for finding in seen.findings if finding.level == NOTE]
    for group in seen.groups():
        _add_classes(report, [entry for entry in group if entry.counts is not None], notes=limit is None)
    report.wrong += [finding.text for finding in seen.findings if finding.level != NOTE]
    if any(entry.sampled for entry in seen.entries):
        text = f'At most {limit} samples of each data set were read (--limit)'
        report.notes.append(f'{text}; files were looked for in all of it.')
    return report


def _row(seen: EntryReport) -> tuple:
    if seen.same_as:
        return (seen.entry.key, f'same as {seen.same_as}', *[''] * 6)
    wrong = sum(finding.level != NOTE for finding in seen.findings)
    figures = [_number(value) for value in (len(seen.images), seen.labels, seen.x, seen.looked)]
    sizes = '-'
    if seen.sizes:
        low, high = np.min(list(seen.sizes), 0), np.max(list(seen.sizes), 0)
        many = f' to {high[0]} x {high[1]} ({len(seen.sizes)} sizes)' if len(seen.sizes) > 1 else ''
        sizes = f'{low[0]} x {low[1]}{many}'
    return (seen.entry.key, seen.entry.name, *figures, sizes, wrong if wrong or seen.looked else '-')


def _add_classes(report: Report, group: Sequence[EntryReport], notes: bool) -> None:
    """How often each class of some data sets occurs in each split, and which never does."""
    if not group:
        return
    unit, classes, header, columns = group[0].unit, group[0].classes, ['', 'class'], []
    for split in dict.fromkeys(seen.entry.split for seen in group):
        counts = sum(seen.counts for seen in group if seen.entry.split == split)
        images = sum(seen.with_class for seen in group if seen.entry.split == split)
        shares = [f'{100 * count / max(counts.sum(), 1):.2f} %' if count else '-' for count in counts]
        columns += [shares if unit == 'pixels' else map(_number, counts), map(_number, images)]
        header += [f'{split} {unit}', 'images']
        never = [name for name, count in zip(classes, counts) if not count]
        if notes and 0 < len(never) < len(classes):
            text = f'{split}: {len(never)} of {len(classes)} classes never occur'
            report.notes.append(f'{text}: {first_few(never, 10)}.')
    rows = [(i, *cells) for i, cells in enumerate(zip(classes, *columns))]
    what = 'share of the pixels that have one' if unit == 'pixels' else 'objects'
    title = f'Classes: {what}, and images with them'
    report.add(title, table(rows, header, right=(0, *range(2, len(header)))))


def _number(value: int | None) -> str:
    return '-' if not value else f'{value:,}'
