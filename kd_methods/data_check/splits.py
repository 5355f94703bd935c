"""What was seen of one data set of a config, and how much is looked at."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from kd_methods.data_check.findings import Finding, share
from kd_methods.data_check.pipeline import Reading
from kd_methods.data_check.scan import Sample, Seen, scan
from kd_methods.datasets.entries import Leaf
from kd_methods.utils.parallel import run_parallel


@dataclass
class Effort:
    """How much is looked at.

    Attributes:
        limit (int | None): Samples of each data set that are read; None for all.
        workers (int | None): Processes; None for the number of cores.
        quick (bool): Leave out what takes long, and data sets that do their listing themselves.
    """

    limit: int | None = None
    workers: int | None = None
    quick: bool = False

    def choose(self, samples: list) -> list:
        """Evenly spaced ones, if there are more than the limit."""
        if self.limit is None or len(samples) <= self.limit:
            return samples
        return [samples[i] for i in np.linspace(0, len(samples) - 1, self.limit).round().astype(int)]

    def read(self, title: str, samples: Sequence[Sample], reading: Reading) -> Iterator[Seen]:
        """Read samples in several processes, with a progress bar if it may take long."""
        work = partial(scan, reading=reading, quick=self.quick)
        return run_parallel(work, samples, self.workers, None if self.quick else title, 'image')


@dataclass
class Split:
    """What was seen of one data set.

    Attributes:
        leaf (Leaf): Its place in the config.
        unit (str): What is counted for each class: 'pixels' or 'objects'; '' if nothing is.
        classes (tuple[str]): Names of its classes.
        used (int | None): How many classes the data uses, as far as it was read; None where that is not
            known.
        images (list[str]): Paths of its images.
        labels (int | None): Label files, or images with annotations; None where none are read.
        x (int | None): Files of X; None where none are read.
        looked (int): Samples that were read.
        sampled (bool): There are more, and they were not read on purpose.
        sizes (Counter): Number of images of each (height, width).
        counts (np.ndarray | None): Pixels or objects of each class.
        with_class (np.ndarray | None): Images that contain each class.
        findings (list[Finding]): What is to say.
        same_as (str): Key of a data set that is the same and stands for it. Defaults to ''.
    """

    leaf: Leaf
    unit: str = ''
    classes: tuple[str, ...] = ()
    used: int | None = None
    images: list[str] = field(default_factory=list)
    labels: int | None = None
    x: int | None = None
    looked: int = 0
    sampled: bool = False
    sizes: Counter = field(default_factory=Counter)
    counts: np.ndarray | None = None
    with_class: np.ndarray | None = None
    findings: list[Finding] = field(default_factory=list)
    same_as: str = ''

    def read_share(self, part: int, things: str) -> str:
        """So many of the files that were read: ``3 of 2,975 label files``, ``all 4 sampled label files``."""
        return share(part, self.looked, f'sampled {things}' if self.sampled else things)

    def say(self, level: str, text: str, missing: bool = False) -> None:
        """Add a finding about this data set; its key is put in front."""
        self.findings.append(Finding(f'{self.leaf.key}: {text}', level, missing))
