"""What was found in the data sets of a config: figures, and sentences with how bad it is."""

import os.path as osp
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from kd_methods.data_check.pipeline import PipelineInfo, pipeline_info
from kd_methods.data_check.recipes import hint_rebuild
from kd_methods.data_check.scan import Sample, ScanBudget, Seen, scan
from kd_methods.datasets.entries import Entry
from kd_methods.utils.parallel import run_parallel
from kd_methods.utils.text import first_few

STOPS = 'stops'  # a run that reads these files stops at them
WRONG = 'wrong'  # a run goes on, and learns or measures something else than was meant
NOTE = 'note'

_COPY = 'Copy or convert them again'
_SIZE = 'with another size (height x width) than'
_CHANNEL = 'Expected: one channel of 8 bits, the number of a class in each pixel'
_RESIZE = 'See that the two belong together; where one was resized, resize the other alike, labels by nearest'
# Problems of single files by kind: of which files, what is said of them, how bad it is, and the cure.
_KINDS = {
    'image': ('image files', 'cannot be read', STOPS, f'{_COPY}, or take them out of the data set'),
    'label': ('label files', 'cannot be read', STOPS, _COPY),
    'x': ('files of X', 'cannot be read', STOPS, _COPY),
    'label colour': ('label files', 'with colours instead of classes', STOPS, _CHANNEL),
    'label size': ('label files', f'{_SIZE} the image', STOPS, _RESIZE),
    'label larger': ('label files', 'larger (height x width) than the image', WRONG, _RESIZE),
    'label wide': ('label files', 'with values that 8 bits do not hold', WRONG, _CHANNEL),
    'label jpeg': ('label files', 'in JPEG, which changes values', WRONG, 'Write PNG from their source'),
    'x size': ('files of X', f'{_SIZE} the image', STOPS, 'See that the two belong together'),
    'json size': ('images', f'{_SIZE} the annotations say', WRONG, 'Take the images that were annotated'),
}


@dataclass
class Finding:
    """A sentence that names the config key, the files, what was expected and the cure."""

    text: str
    level: str  # STOPS, WRONG or NOTE
    missing: bool = False  # it is about files that are not there


@dataclass
class EntryReport:
    """What was seen of one data set."""

    entry: Entry
    scope: str | None = None  # of the registries
    budget: ScanBudget = field(default_factory=ScanBudget)
    unit: str = ''  # what is counted for each class: 'pixels' or 'objects'; '' if nothing is
    classes: tuple[str, ...] = ()
    used: int = 0  # classes that the data uses, as far as it was read
    images: list[str] = field(default_factory=list)
    labels: int | None = None  # label files, or images with annotations; None where none are read
    x: int | None = None  # files of X; None where none are read
    looked: int = 0  # samples that were read
    sampled: bool = False  # there are more, and they were not read on purpose
    sizes: Counter = field(default_factory=Counter)  # images of each (height, width)
    counts: np.ndarray | None = None  # pixels or objects of each class
    with_class: np.ndarray | None = None  # images that contain each class
    findings: list[Finding] = field(default_factory=list)
    same_as: str = ''  # key of a data set that is the same and stands for it

    @cached_property
    def info(self) -> PipelineInfo:
        """What the pipeline reads."""
        return pipeline_info(self.entry, self.scope)

    def say(self, level: str, text: str, missing: bool = False) -> None:
        """Add a finding about this data set; its key is put in front."""
        self.findings.append(Finding(f'{self.entry.key}: {text}', level, missing))

    def take_classes(self, names: Sequence[str] | None) -> None:
        """Take the names of the classes; one text in place of a tuple is a finding."""
        if isinstance(names, str):
            text = f'metainfo.classes={names!r} is one text. For one class, write a tuple with a comma'
            self.say(WRONG, f'{text}: classes=({names!r},).')
        self.classes = (names,) if isinstance(names, str) else tuple(names or ())

    def read(self, samples: list[Sample]) -> Iterator[tuple[Sample, Seen]]:
        """Read as many samples as the budget allows, with a progress bar if that may take long."""
        chosen, budget = self.budget.choose(samples), self.budget
        self.looked, self.sampled = len(chosen), len(chosen) < len(samples)
        work, title = partial(scan, quick=budget.quick), None if budget.quick else self.entry.key
        for seen, sample in zip(run_parallel(work, chosen, budget.workers, title, 'image'), chosen):
            self.sizes.update([seen.size] if seen.size else [])
            yield sample, seen

    def part_read(self, part: int, files: str) -> str:
        """So many of the files that were read: ``3 of 2,975 label files``, ``all 4 sampled label files``."""
        return part_of(part, self.looked, f'sampled {files}' if self.sampled else files)

    def say_of_files(self, problems: Iterable[tuple[str, str, str]]) -> None:
        """Add one finding for each kind of problem, given the kind, the file, and what was found in it."""
        found: dict[str, list[tuple[str, str]]] = {}
        for kind, path, what in problems:
            if kind == 'label larger' and self.entry.split != 'train':
                kind = 'label size'  # a crop can be taken of a larger label; a metric compares all of it
            found.setdefault(kind, []).append((path, what))
        softened = {'image': self.info.skips, 'label size': self.info.resizes}
        for kind, paths in found.items():
            files, what, level, cure = _KINDS[kind]
            made = hint_rebuild(self.entry, paths[0][0]) if kind in ('label colour', 'label wide') else ''
            text = f'{self.part_read(len(paths), files)} {what}: {first_files(paths)}. {cure}.'
            self.say(WRONG if softened.get(kind) else level, f'{text} {made}.' if made else text)


@dataclass
class DataReport:
    """What was seen of a config's data."""

    entries: list[EntryReport] = field(default_factory=list)
    others: list[Finding] = field(default_factory=list)  # about more than one data set

    @property
    def findings(self) -> list[Finding]:
        """All sentences."""
        return [finding for report in self.entries for finding in report.findings] + self.others

    def groups(self) -> list[list[EntryReport]]:
        """The data sets that count the same and have the same classes."""
        found: dict[tuple, list[EntryReport]] = {}
        for report in (report for report in self.entries if report.classes):
            found.setdefault((report.unit, report.classes), []).append(report)
        return list(found.values())


def first_files(files: Sequence[str | tuple[str, str]], most: int = 3) -> str:
    """The first few files, each with what was found in it, and how many there are; a folder is named once."""
    names, before = [], None
    for file in files:
        path, found = (file, '') if isinstance(file, str) else file
        folder, name = osp.split(path)
        names.append((name if folder == before else path) + (f' ({found})' if found else ''))
        before = folder
    return first_few(names, most)


def part_of(part: int, whole: int, things: str) -> str:
    """``3 of 2,975 images``, or ``all 5 images``."""
    return f'all {whole:,} {things}' if part == whole > 1 else f'{part:,} of {whole:,} {things}'
