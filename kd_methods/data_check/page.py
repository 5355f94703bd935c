"""The whole check of a config's data as a page."""

from collections.abc import Sequence

import numpy as np
from mmengine.config import Config

from kd_methods.data_check.findings import NOTE, listed
from kd_methods.data_check.look import Look, look
from kd_methods.data_check.splits import Effort, Split
from kd_methods.utils.report import Report, table


def check_data(
    cfg: Config, title: str, splits: Sequence[str], limit: int | None = None, workers: int | None = None
) -> Report:
    """Read the data sets of a config, and report. Nothing is written to disk.

    Args:
        cfg (Config): A whole config.
        title (str): Its name.
        splits (Sequence[str]): Of 'train', 'val', 'test'; those that the config has no loader for are passed
            over.
        limit (int | None): Read that many samples of each data set, evenly spaced. Defaults to None, all.
        workers (int | None): Processes. Defaults to None, the number of cores.

    Returns:
        Report: To be printed; its ``exit_code`` is 1 where something is wrong.

    Raises:
        ValueError: The config names no data set.
    """
    seen = look(cfg, splits, Effort(limit, workers))
    if not seen.splits:
        raise ValueError(
            f'CONFIG: {title} has no data set in {" and ".join(f"{name}_dataloader" for name in splits)}.'
        )
    report = Report(f'Data of {title}')
    report.add('Data sets', _data_sets(seen))
    report.notes += [finding.text for finding in seen.findings if finding.level == NOTE]
    for group in _groups(seen.splits):
        report.add(*_classes(group))
        report.notes += _never(group) if limit is None else []
    report.wrong += [finding.text for finding in seen.findings if finding.level != NOTE]
    if any(split.sampled for split in seen.splits):
        report.notes.append(
            f'At most {limit} samples of each data set were read (--limit); files were looked for in all of '
            'it.'
        )
    return report


def _data_sets(seen: Look) -> str:
    rows = []
    for split in seen.splits:
        if split.same_as:
            rows.append((split.leaf.key, f'same as {split.same_as}', *[''] * 6))
            continue
        wrong = sum(finding.level != NOTE for finding in split.findings)
        rows.append(
            (
                split.leaf.key,
                split.leaf.name,
                _number(len(split.images) or None),
                _number(split.labels),
                _number(split.x),
                _number(split.looked),
                _sizes(split),
                wrong if wrong or split.looked else '-',
            )
        )
    return table(
        rows, ('', 'type', 'images', 'labels', 'X', 'read', 'height x width', 'wrong'), right=(2, 3, 4, 5, 7)
    )


def _sizes(split: Split) -> str:
    if not split.sizes:
        return '-'
    if len(split.sizes) == 1:
        return '{} x {}'.format(*next(iter(split.sizes)))
    low, high = np.min(list(split.sizes), 0), np.max(list(split.sizes), 0)
    return f'{low[0]} x {low[1]} to {high[0]} x {high[1]} ({len(split.sizes)} sizes)'


def _groups(splits: Sequence[Split]) -> list[list[Split]]:
    """Data sets with the same classes, of which something was counted."""
    groups: dict[tuple, list[Split]] = {}
    for split in splits:
        if split.counts is not None and split.classes:
            groups.setdefault((split.unit, split.classes), []).append(split)
    return list(groups.values())


def _classes(group: Sequence[Split]) -> tuple[str, str]:
    """How often each class occurs in each split."""
    unit, header, columns = group[0].unit, ['', 'class'], []
    for name, (counts, images) in _counts(group).items():
        if unit == 'pixels':
            total = max(counts.sum(), 1)
            columns += [
                [f'{100 * count / total:.2f} %' if count else '-' for count in counts],
                [_number(n) for n in images],
            ]
        else:
            columns += [[_number(n) for n in counts], [_number(n) for n in images]]
        header += [f'{name} {unit}', 'images']
    rows = [(i, name, *cells) for i, (name, *cells) in enumerate(zip(group[0].classes, *columns))]
    return (
        f'Classes: {"share of the pixels that have one" if unit == "pixels" else "objects"}, and images '
        'with them',
        table(rows, header, right=(0, *range(2, len(header)))),
    )


def _never(group: Sequence[Split]) -> list[str]:
    """A note for each split of which a part of the classes never occurs."""
    notes, classes = [], group[0].classes
    for name, (counts, _) in _counts(group).items():
        never = [cls for cls, count in zip(classes, counts) if not count]
        if 0 < len(never) < len(classes):
            notes.append(f'{name}: {len(never)} of {len(classes)} classes never occur: {listed(never)}.')
    return notes


def _counts(group: Sequence[Split]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pixels or objects of each class, and images with it, by split."""
    names = dict.fromkeys(split.leaf.split for split in group)
    of = {name: [split for split in group if split.leaf.split == name] for name in names}
    return {
        name: (sum(s.counts for s in splits), sum(s.with_class for s in splits))
        for name, splits in of.items()
    }


def _number(value: int | None) -> str:
    return '-' if not value else f'{value:,}'
