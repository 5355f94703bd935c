"""The demo's figures: what a training logged, means over seeds, tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kd_methods.utils.report import count, number


class TrainingLog(NamedTuple):
    """A training's figures, over all its sessions where it was interrupted.

    Attributes:
        loss (dict[int, float]): Task loss by iteration, without the losses of a distiller.
        miou (dict[int, float]): Validation mIoU by iteration.
        seconds_per_iteration (float | None): Median; None where nothing was logged.
    """

    loss: dict[int, float]
    miou: dict[int, float]
    seconds_per_iteration: float | None


def read_training(folder: Path) -> TrainingLog:
    """Read the scalars of a work dir; where sessions overlap, the later one counts."""
    loss, miou, seconds = {}, {}, {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # cut off when the run was stopped
                continue
            step = record['step']
            if 'mIoU' in record:
                miou[step] = record['mIoU']
            elif 'loss' in record:
                own = [v for k, v in record.items() if k.startswith('student.') and 'loss' in k]
                loss[step], seconds[step] = sum(own) if own else record['loss'], record['time']
    median = statistics.median(seconds.values()) if seconds else None
    return TrainingLog(dict(sorted(loss.items())), dict(sorted(miou.items())), median)


def summarize(runs: Sequence[dict]) -> dict[str, dict]:
    """Mean and sample standard deviation of mIoU over the seeds of each arm; the latter None for one seed."""
    summary = {}
    for arm in dict.fromkeys(run['arm'] for run in runs):
        values = dict(sorted((run['seed'], run['mIoU']) for run in runs if run['arm'] == arm))
        seeds, values = list(values), list(values.values())
        known = None not in values
        mean = round(statistics.mean(values), 4) if known else None
        std = round(statistics.stdev(values), 4) if known and len(values) > 1 else None
        summary[arm] = dict(seeds=seeds, values=values, mean=mean, std=std)
    return summary


def comparison(results: dict) -> list[list[str]]:
    """Rows of the demo's table (seed 0), the heading first."""
    size = results['input_size']
    flops = f'multiply-adds ({size} x {size})'
    rows = [['network', 'val mIoU', 'parameters', flops, 's/iter in training', 'iterations']]
    for run in results['runs']:
        if run['seed'] == 0:
            arm, seconds = results['arms'][run['arm']], number(run['seconds_per_iteration'], '.3f')
            cost = [f'{arm["parameters"] / 1e6:.2f} M', count(arm['flops']), seconds]
            rows.append([arm['title'], number(run['mIoU'], '.1f'), *cost, str(run['iterations'])])
    return rows


def over_seeds(results: dict) -> list[list[str]]:
    """Rows of the table over seeds, the heading first; none for a single seed."""
    summary = results['summary']
    seeds = sorted({seed for entry in summary.values() for seed in entry['seeds']})
    if len(seeds) < 2:
        return []
    rows = [['val mIoU', *(f'seed {seed}' for seed in seeds), 'mean', 'standard deviation']]
    for arm, entry in summary.items():
        by_seed = dict(zip(entry['seeds'], entry['values']))
        values = [*map(by_seed.get, seeds), entry['mean'], entry['std']]
        rows.append([results['arms'][arm]['title'], *(number(value, '.1f') for value in values)])
    return rows


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: the first column to the left, the others to the right."""
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join([lines[0], '|---' + '|---:' * (len(rows[0]) - 1) + '|', *lines[1:]])
