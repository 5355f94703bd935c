"""What mmengine's logs say about a training run."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class TrainingLog:
    """A training run's figures, over all its sessions where it was interrupted.

    Attributes:
        loss (dict[int, float]): Task loss by iteration: without what a distiller adds, so that arms can be
            compared.
        miou (dict[int, float]): Validation mIoU by iteration.
        seconds (dict[int, float]): Seconds an iteration, by iteration.
    """

    loss: dict[int, float] = field(default_factory=dict)
    miou: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)

    @property
    def seconds_per_iteration(self) -> float | None:
        """Median of what was logged; None where nothing was."""
        return statistics.median(self.seconds.values()) if self.seconds else None


def read_training(folder: Path) -> TrainingLog:
    """Read the scalars of a work dir; where sessions overlap, the later one counts."""
    log = TrainingLog()
    for path in sorted(Path(folder).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # cut off when the run was stopped
                continue
            step = int(record.get('step', record.get('iter', 0)))
            if 'mIoU' in record:
                log.miou[step] = float(record['mIoU'])
            elif 'loss' in record:
                log.loss[step] = task_loss(record)
                log.seconds[step] = float(record['time'])
    log.loss, log.miou, log.seconds = (dict(sorted(d.items())) for d in (log.loss, log.miou, log.seconds))
    return log


def task_loss(record: dict) -> float:
    """The student's own losses in a record of a distillation run; the whole loss of a plain run."""
    own = [float(v) for k, v in record.items() if k.startswith('student.') and 'loss' in k]
    return sum(own) if own else float(record['loss'])
