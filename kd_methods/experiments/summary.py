"""Means over seeds, gains over a baseline, and their tables."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy import stats

from kd_methods.utils.report import count, number


class Interval(NamedTuple):
    """A mean over seeds, and where it lies with a probability of 95 %."""

    mean: float
    low: float | None
    high: float | None


class Row(NamedTuple):
    """One arm of a comparison.

    Attributes:
        arm (str): Its name.
        values (dict[int, float]): The metric by seed, of the runs that have a figure.
        gain (Interval | None): Over the baseline, on the seeds that both have; None for the baseline.
        seconds_per_iteration, seconds, length, extra_parameters (float | None): Means over the seeds.
    """

    arm: str
    values: dict[int, float]
    gain: Interval | None
    seconds_per_iteration: float | None
    seconds: float | None
    length: float | None
    extra_parameters: float | None

    @property
    def mean(self) -> float | None:
        """Mean of the metric; None where no run has a figure."""
        return statistics.mean(self.values.values()) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation of the metric; None of one seed."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean and its confidence interval by Student's t; without bounds for one value.

    Example:
        >>> interval([1.0, 2.0, 3.0])
        Interval(mean=2.0, low=-0.4841..., high=4.4841...)
    """
    mean = statistics.mean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return Interval(mean, float(mean - half), float(mean + half))


def summarize(runs: Sequence[Mapping[str, Any]], metric: str, baseline: str | None = None) -> list[Row]:
    """One row an arm, in the order of the runs.

    Args:
        runs (Sequence[Mapping]): Records of runs that are done.
        metric (str): Which of their metrics.
        baseline (str | None): The arm over which gains are given, paired by seed. Defaults to None: none.

    Raises:
        KeyError: A run has no such metric.
    """
    for run in runs:
        if metric not in run['metrics']:
            there = f'{run["arm"]}, seed {run["seed"]} has {sorted(run["metrics"])}'
            raise KeyError(f'--metric: no {metric!r} among the figures of the runs: {there}')
    arms = {arm: [run for run in runs if run['arm'] == arm] for arm in dict.fromkeys(r['arm'] for r in runs)}

    def values(arm: str) -> dict[int, float]:
        found = {r['seed']: r['metrics'][metric] for r in sorted(arms[arm], key=lambda r: r['seed'])}
        return {seed: value for seed, value in found.items() if value is not None}  # None: not finite

    def mean(arm: str, name: str) -> float | None:
        known = [run[name] for run in arms[arm] if run.get(name) is not None]
        return statistics.mean(known) if known else None

    base = values(baseline) if baseline in arms else {}
    rows = []
    for arm in arms:
        own = values(arm)
        both = [own[seed] - base[seed] for seed in own if seed in base]
        gain = interval(both) if both and arm != baseline else None
        costs = (
            mean(arm, name) for name in ('seconds_per_iteration', 'seconds', 'length', 'extra_parameters')
        )
        rows.append(Row(arm, own, gain, *costs))
    return rows


def figure_form(rows: Sequence[Row]) -> str:
    """How figures are written: percentages with two digits, parts of one (mAP) with four."""
    values = [abs(value) for row in rows for value in row.values.values()]
    return '.4f' if max(values, default=0) <= 1 else '.2f'


def comparison(rows: Sequence[Row], metric: str) -> list[list[str]]:
    """The table of a comparison, its heading first."""
    gains, form = any(row.gain for row in rows), figure_form(rows)
    head = ['', 'seeds', metric, *['gain', '95 % interval'] * gains]
    cells = [[*head, 's/iter', 'iterations', 'training', 'extra parameters']]
    for row in rows:
        spread = '' if row.std is None else f' ± {row.std:{form}}'
        gained = []
        if gains:
            known = row.gain and row.gain.low is not None
            bounds = f'{row.gain.low:+{form}} to {row.gain.high:+{form}}' if known else ''
            gained = [f'{row.gain.mean:+{form}}' if row.gain else '', bounds]
        minutes = None if row.seconds is None else row.seconds / 60
        cost = [number(row.seconds_per_iteration, '.3f'), number(row.length, '.0f')]
        cost += [number(minutes, '.1f') + ' min' * (minutes is not None), count(row.extra_parameters)]
        cells.append([row.arm, str(len(row.values)), number(row.mean, form) + spread, *gained, *cost])
    return cells


def trials(rows: Sequence[Row], form: str | None = None) -> list[list[str]]:
    """The table of all trials, a column a seed, its heading first."""
    seeds = sorted({seed for row in rows for seed in row.values})
    head, form = ['', *(f'seed {seed}' for seed in seeds)], form or figure_form(rows)
    return [head, *([row.arm, *(number(row.values.get(s), form) for s in seeds)] for row in rows)]


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: the first column to the left, the others to the right."""
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join([lines[0], '|---' + '|---:' * (len(rows[0]) - 1) + '|', *lines[1:]])
