"""What a training has logged."""

import json
import statistics
from pathlib import Path
from typing import NamedTuple


class TrainingLog(NamedTuple):
    """A training's figures, over all its sessions where it was interrupted.

    Attributes:
        loss (dict[int, float]): Task loss by iteration, without the losses of a distiller.
        metrics (dict[str, dict[int, float]]): Figures of the validations, each by iteration (or epoch).
        seconds (dict[int, float]): Time of an iteration, loading included, by iteration.
    """

    loss: dict[int, float]
    metrics: dict[str, dict[int, float]]
    seconds: dict[int, float]

    @property
    def seconds_per_iteration(self) -> float | None:
        """Median; None where nothing was logged."""
        return statistics.median(self.seconds.values()) if self.seconds else None


def read_training(folder: Path) -> TrainingLog:
    """Read the scalars of a work dir; where sessions overlap, the later one counts."""
    loss: dict[int, float] = {}
    seconds: dict[int, float] = {}
    metrics: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # cut off when the run was stopped
                continue
            step = record['step']
            if 'loss' in record:
                own = [v for k, v in record.items() if k.startswith('student.') and 'loss' in k]
                loss[step], seconds[step] = sum(own) if own else record['loss'], record['time']
                continue
            for name, value in record.items():
                if name not in ('step', 'time', 'data_time') and isinstance(value, (int, float)):
                    metrics.setdefault(name, {})[step] = value
    by_step = {name: dict(sorted(values.items())) for name, values in metrics.items()}
    return TrainingLog(dict(sorted(loss.items())), by_step, dict(sorted(seconds.items())))
