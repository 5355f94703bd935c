"""Bad samples of a run: the error names their files, and a few may be left out."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.dataset import BaseDataset, Compose
from mmengine.fileio import get

from kd_methods.utils.errors import SampleError, describe_error
from kd_methods.utils.text import first_few

_NAMES = dict(img_path='image', seg_map_path='label', x_path='X')
_CURE = '`python tools/data/check.py CONFIG` looks at every file.'


def guard(dataset: Any, key: str, limit: int = 0, record: Path | None = None, **labels: Any) -> None:
    """Let the data sets of mmengine's kind inside of one name the files of a sample that cannot be used.

    Args:
        dataset: What a data loader has; wrappers are looked into.
        key (str): Its place in the config, for messages.
        limit (int): Bad samples that may be left out; another, drawn at random, takes the place of each.
            Defaults to 0.
        record (Path | None): The list of what was left out, which all processes of a run share; needed with a
            limit. Defaults to None.
        **labels: Arguments of :class:`CheckedPipeline`.
    """
    for leaf in _leaves(dataset):
        if isinstance(vars(leaf).get('prepare_data'), _Guard):
            continue
        leaf.prepare_data = _Guard(leaf, key, limit, record)
        if type(leaf.pipeline) is Compose:
            leaf.pipeline = CheckedPipeline(leaf.pipeline, **labels)


def read_skipped(record: Path) -> dict[str, str]:
    """What was left out: sample -> what is wrong with it."""
    lines = record.read_text(encoding='utf-8').splitlines() if record.is_file() else []
    return dict(line.partition('\t')[::2] for line in lines)


class CheckedPipeline(Compose):
    """A pipeline that looks at a label map as soon as it is loaded.

    Args:
        pipeline (Compose): The transforms.
        classes (int | None): Number of classes; None leaves values alone. Defaults to None.
        ignored (Collection[int]): Further values that label maps may hold. Defaults to none.
    """

    def __init__(self, pipeline: Compose, classes: int | None = None, ignored: Collection[int] = ()) -> None:
        super().__init__(pipeline.transforms)
        self.classes, self.ignored = classes, tuple(ignored)

    def __call__(self, data: dict) -> dict | None:
        """Apply the transforms.

        Raises:
            ValueError: Image and label map differ in size, or a label is none of the classes.
        """
        checked = False
        for transform in self.transforms:
            data = transform(data)
            if data is None:
                return None
            if not checked and 'gt_seg_map' in data and 'ori_shape' in data:
                self._check(data['gt_seg_map'], tuple(data['ori_shape'][:2]))
                checked = True
        return data

    def _check(self, labels: np.ndarray, size: tuple[int, ...]) -> None:
        if labels.ndim == 2 and labels.shape != size:
            sizes = '{} x {}, its label {} x {} (height x width)'.format(*size, *labels.shape)
            raise ValueError(f'the image is {sizes}')
        if self.classes is None:
            return
        wrong = (labels < 0) | (labels >= self.classes)
        for value in self.ignored:
            wrong &= labels != value
        if wrong.any():
            found = first_few(np.unique(labels[wrong]).tolist())
            allowed = ''.join(f', and {value} for ignored' for value in self.ignored)
            raise ValueError(f'the label holds {found}, but classes are 0 to {self.classes - 1}{allowed}')


class _Guard:
    """Takes the place of a data set's ``prepare_data``; travels to workers with it."""

    def __init__(self, dataset: BaseDataset, key: str, limit: int, record: Path | None) -> None:
        self.dataset, self.key, self.limit, self.record = dataset, key, limit, record

    def __call__(self, idx: int) -> Any:
        try:
            return type(self.dataset).prepare_data(self.dataset, idx)
        except MemoryError:
            raise
        except Exception as error:  # of any kind, depending on which transform meets the sample
            self._refuse(int(idx), error)
        return None  # mmengine takes another sample

    def _refuse(self, idx: int, error: Exception) -> None:
        files = _files_of(self.dataset, idx)
        named = ', '.join(f'{name} {path}' for name, path in files.items())
        sample = f'sample {idx} of {type(self.dataset).__name__} ({named or "no files"})'
        text = str(error) if type(error) is ValueError else describe_error(error, 10_000)
        broken = [f'{path} {why}' for path in files.values() if (why := _why_unreadable(path))]
        what = ' '.join((' and '.join(broken) or text).split())
        sentence = f'{self.key}: {sample} cannot be used: {what}.'
        if not self.limit:
            hint = f' skip_bad_samples=N leaves up to N out. {_CURE}' if self.record else ''
            raise SampleError(sentence + hint) from error
        if sample not in read_skipped(self.record):
            with self.record.open('a', encoding='utf-8') as file:  # one write: lines of processes do not mix
                file.write(f'{sample}\t{what}\n')
        skipped = read_skipped(self.record)
        if len(skipped) > self.limit:
            raise SampleError(
                f'{sentence} skip_bad_samples={self.limit}, but these are {len(skipped)} bad samples; '
                f'{self.record} lists them. {_CURE}'
            ) from error


def _leaves(dataset: Any) -> Iterator[BaseDataset]:
    # mmengine's slice of a data set (num_batch_per_epoch) has no public name for what is in it
    sliced = vars(dataset).get('_dataset') if hasattr(dataset, '__dict__') else None
    inner = [sliced or getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]
    for part in filter(lambda part: part is not None, inner):
        yield from _leaves(part)
    if isinstance(dataset, BaseDataset):
        yield dataset


def _files_of(dataset: BaseDataset, idx: int) -> dict[str, str]:
    try:
        info = dataset.get_data_info(idx)
    except Exception:  # the entry itself is broken
        return {}
    return {_NAMES.get(k, k): v for k, v in info.items() if isinstance(v, str) and k.endswith('_path')}


def _why_unreadable(path: str) -> str:
    """What is wrong with a file, '' if it can be read or is no image."""
    try:
        content = get(path)
    except OSError as error:
        return f'cannot be read ({error.strerror or error})'
    except Exception:  # read with arguments that are not known here
        return ''
    if not content:
        return 'is empty'
    if not path.lower().endswith(('.png', '.jpg', '.jpeg', '.bmp')):
        return ''
    try:
        image = mmcv.imfrombytes(content, flag='unchanged')
    except Exception:
        image = None
    return '' if image is not None else f'({len(content)} bytes) is no whole image'
