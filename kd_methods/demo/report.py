"""The demo's table, as text, Markdown and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def summarize(runs: Sequence[dict], metric: str = 'mIoU') -> dict[str, dict[str, Any]]:
    """Mean and sample standard deviation of each arm over its seeds.

    Args:
        runs (Sequence[dict]): Each with `arm`, `seed` and the metric.
        metric (str): Defaults to 'mIoU'.

    Returns:
        dict: Arm -> `values` in the order of the seeds, `mean`, `std` (None for one seed), `seeds`.
    """
    arms: dict[str, list[dict]] = {}
    for run in sorted(runs, key=lambda r: r['seed']):
        arms.setdefault(run['arm'], []).append(run)
    summary = {}
    for arm, its in arms.items():
        values = [run[metric] for run in its]
        known = all(v is not None for v in values)
        summary[arm] = dict(
            seeds=[run['seed'] for run in its],
            values=values,
            mean=round(statistics.mean(values), 4) if known else None,
            std=round(statistics.stdev(values), 4) if known and len(values) > 1 else None,
        )
    return summary


def comparison(results: dict) -> list[list[str]]:
    """Rows of the demo's own table (seed 0), the heading first."""
    size = results['input_size']
    rows = [
        [
            'network',
            'val mIoU',
            'parameters',
            f'multiply-adds ({size} x {size})',
            's/iter in training',
            'iterations',
        ]
    ]
    for run in (run for run in results['runs'] if run['seed'] == 0):
        arm = results['arms'][run['arm']]
        rows.append(
            [
                arm['title'],
                number(run['mIoU']),
                f'{arm["parameters"] / 1e6:.2f} M',
                flops(arm['flops']),
                number(run['seconds_per_iteration'], 3),
                str(run['iterations']),
            ]
        )
    return rows


def over_seeds(results: dict) -> list[list[str]]:
    """Rows of the table over seeds, the heading first; none for a single seed."""
    summary = results['summary']
    seeds = sorted({seed for entry in summary.values() for seed in entry['seeds']})
    if len(seeds) < 2:
        return []
    rows = [['val mIoU', *(f'seed {seed}' for seed in seeds), 'mean', 'standard deviation']]
    for arm, entry in summary.items():
        values = dict(zip(entry['seeds'], entry['values']))
        rows.append(
            [
                results['arms'][arm]['title'],
                *(number(values.get(seed)) for seed in seeds),
                number(entry['mean']),
                number(entry['std']),
            ]
        )
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal: first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        '  '.join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
    return '\n'.join([lines[0], '-' * len(lines[0]), *lines[1:]])


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """The same table in Markdown."""
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join([lines[0], '|---' + '|---:' * (len(rows[0]) - 1) + '|', *lines[1:]])


def number(value: float | None, places: int = 1) -> str:
    """A value, or a dash."""
    return '-' if value is None else f'{value:.{places}f}'


def flops(value: float | None) -> str:
    """Multiply-adds with a unit."""
    if value is None:
        return '-'
    return f'{value / 1e9:.2f} G' if value >= 1e9 else f'{value / 1e6:.0f} M'
