"""A comparison in a folder: what is known of its trials, and the report."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kd_methods.experiments.pictures import draw_comparison
from kd_methods.experiments.summary import as_markdown, comparison, summarize, trials
from kd_methods.experiments.trials import RECORD, Trial
from kd_methods.utils.files import write_file
from kd_methods.utils.paths import REPO_ROOT
from kd_methods.utils.report import table
from kd_methods.utils.text import did_you_mean

#: Taken in this order where no metric is named.
METRICS = ('mIoU', 'coco/segm_mAP', 'coco/bbox_mAP', 'pascal_voc/mAP')


class Sweep:
    """The trials of a comparison, and what is reported of them.

    Args:
        trials (Sequence[Trial]): In the order in which they run.
        out (Path): Folder of the report.
        baseline (str | None): Name of the arm over which gains are given. Defaults to None, the first.
        metric (str | None): The figure to compare. Defaults to None, the first of :data:`METRICS` that is
            there.

    Raises:
        ValueError: No arm is called like the baseline.
    """

    def __init__(
        self, trials: Sequence[Trial], out: Path, baseline: str | None = None, metric: str | None = None
    ) -> None:
        self.trials, self.out, self.metric = trials, out, metric
        arms = list(dict.fromkeys(trial.arm.name for trial in trials))
        self.baseline = arms[0] if baseline is None else baseline
        if self.baseline not in arms:
            raise ValueError(
                f'--baseline: no arm {baseline!r}.{did_you_mean(baseline, arms) or f" Arms: {arms}"}'
            )
        self.keys = [trial.key for trial in trials]  # a mistake in a config is told before any training

    def take(self, known: Mapping[str, Any]) -> None:
        """Take over the runs of another sweep's ``sweep.json`` that are of the same settings."""
        records = {run['key']: run for run in known['runs']}
        for trial in self.trials:
            if trial.key in records and not trial.is_done():
                record = {**records[trial.key], 'arm': trial.arm.name}  # there it may have had another
                write_file(json.dumps(record, indent=1) + '\n', trial.folder / RECORD)

    def done(self) -> list[dict]:
        """Records of the trials that are done, arm by arm."""
        arms = list(dict.fromkeys(trial.arm.name for trial in self.trials))
        found = sorted((t for t in self.trials if t.is_done()), key=lambda t: arms.index(t.arm.name))
        return [trial.record() for trial in found]

    def report(self, setting: Mapping[str, Any]) -> str:
        """Write ``sweep.md``, ``sweep.json`` and ``sweep.png``; returns the table.

        Args:
            setting (Mapping): How it ran, for ``sweep.json``.

        Raises:
            KeyError: The runs have no such metric.
        """
        runs = self.done()
        metric = self.metric or next((m for m in METRICS if m in runs[0]['metrics']), None)
        metric = metric or next(iter(runs[0]['metrics']))
        rows = summarize(runs, metric, self.baseline)
        test = self.trials[0].test
        what = f'{test} checkpoint on the test data' if test else 'last validation'
        tables = comparison(rows, metric), trials(rows)
        text = f'{metric}, {what}; gains over {self.baseline!r}, paired by seed.'
        write_file('\n\n'.join([text, *map(as_markdown, tables)]) + '\n', self.out / 'sweep.md')
        versions = dict(python=platform.python_version(), torch=torch.__version__)
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
        machine = dict(cores=os.cpu_count(), device=device, **versions, commit=commit(), **setting)
        found = dict(metric=metric, baseline=self.baseline, result=test or 'val', machine=machine, runs=runs)
        write_file(json.dumps(found, indent=1) + '\n', self.out / 'sweep.json')
        draw_comparison(self.out / 'sweep.png', rows, metric, self.baseline, text)
        head, *body = tables[0]
        return text + '\n\n' + table(body, head, right=range(1, len(head)), rule=True)


def commit() -> str | None:
    """The commit of this checkout, with a + where files differ from it; None where there is no git."""
    try:
        command = ['git', '-C', REPO_ROOT, 'describe', '--always', '--dirty=+', '--exclude=*']
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
