"""The images that are drawn: of the test data set by number, or files."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS

from kd_methods.data_check.paths import check_paths
from kd_methods.datasets.entries import Entry, entries_of, kind_of
from kd_methods.distill.channels import ChannelLayout
from kd_methods.networks.config import load_config

KEY = 'test_dataloader.dataset'


@dataclass
class Picture:
    """An image to draw."""

    name: str  # first part of its pictures' names
    path: str
    rgb: np.ndarray  # the file's image, height x width x 3, uint8
    load: Callable[[], dict]  # runs the pipeline: `inputs` and `data_samples`
    scaled_truth: bool = False  # the pipeline resizes boxes with the image

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[:2]

    def batch(self) -> dict:
        """The raw image with its data sample, as a dataloader would collate it."""
        return pseudo_collate([self.load()])


def test_data(cfg: Config) -> Config:
    """The config with a test data set whose images have all channels that one of its networks sees.

    A student that sees RGB alone is tested on RGB, so its test data set reads no X. Then the teacher's config
    says how X is read: its test pipeline, and where X lies below the data root.
    """
    if not isinstance((cfg.get('test_dataloader') or {}).get('dataset'), Mapping):
        what = 'which gives the images and their pipeline. Inherit a data set with _base_.'
        raise ValueError(f'CONFIG has no {KEY}, {what}')
    cfg = copy.deepcopy(cfg)
    layout, own = ChannelLayout.parse(cfg.model.get('inputs')), _data_set(cfg)
    seen = set(layout.parts['student'] + layout.parts['teacher']) if layout else set()
    if not layout or seen <= {next(iter(layout.channels))} or _loads_x(own):
        return cfg
    teacher = cfg.model.get('teacher')
    path = teacher.get('cfg_path') if isinstance(teacher, Mapping) else None
    other = _data_set(load_config(path, 'model.teacher.cfg_path')) if path else None
    if other is None or not _loads_x(other):
        why = 'loads no X, which the teacher sees (model.inputs), and the teacher has no config that says how'
        cure = 'Put LoadXFromFile and PackRGBXInputs into that pipeline, with data_prefix.x_path.'
        raise ValueError(f'{KEY}: its pipeline {why}. {cure}')
    own.cfg.pipeline = other.cfg.pipeline
    own.cfg.data_prefix.x_path = other.cfg.data_prefix.x_path
    return cfg


def pictures_by_index(cfg: Config, indices: Sequence[int]) -> list[Picture]:
    """Images of the test data set by their numbers."""
    check_paths(Config(dict(test_dataloader=cfg.test_dataloader)), 'test')  # without what its metric reads
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    wrong = ' '.join(str(i) for i in indices if not 0 <= i < len(dataset))
    if wrong:
        count = f'{len(dataset)} images, 0 to {len(dataset) - 1}'
        raise ValueError(f'--index {wrong}: the test data set ({type(dataset).__name__}) has {count}.')
    kinds = [kind_of(step) for step in _data_set(cfg).steps]
    loads = next((i for i, kind in enumerate(kinds) if 'Annotations' in kind), len(kinds))
    scaled = any('Resize' in kind for kind in kinds[loads:])
    indices = list(dict.fromkeys(indices))
    paths = [dataset.get_data_info(i)['img_path'] for i in indices]
    return [
        Picture(name, path, read_image(path, KEY), lambda i=i: dataset[i], scaled)
        for i, name, path in zip(indices, _names(paths), paths)
    ]


def pictures_of_files(cfg: Config, paths: Sequence[str]) -> list[Picture]:
    """Images by their files, which go through the test pipeline without annotations."""
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f'--image: no file {path!r}')
    paths, dataset = list(dict.fromkeys(paths)), _data_set(cfg)
    if _loads_x(dataset):
        other = 'draw the student alone with its plain config, WORK_DIR/student_config.py'
        cure = f'Take images of the data set with --index, or {other}.'
        raise ValueError(f'--image: a network of this config sees X and RGB, and a file has no X. {cure}')
    steps = dataset.cfg.get('pipeline') or []
    pipeline = Compose([step for step in steps if 'Annotations' not in kind_of(step)])
    return [
        Picture(name, path, read_image(path, '--image'), lambda p=path: pipeline(dict(img_path=p, img_id=0)))
        for name, path in zip(_names(paths), paths)
    ]


def read_image(path: str, key: str) -> np.ndarray:
    """An image file as the pipelines read it, but red, green, blue; ``key`` is what named it."""
    why = f'{key}: {path!r} cannot be read as an image'
    try:
        image = mmcv.imfrombytes(fileio.get(path), flag='color', channel_order='rgb')
    except Exception as error:  # of OpenCV, of a file backend
        raise ValueError(f'{why}: {type(error).__name__}') from error
    if image is None:
        raise ValueError(f'{why}.')
    return image


def check_pixels(pixels: Sequence[tuple[int, int]], pictures: Sequence[Picture]) -> None:
    """Raise unless each pixel lies in each image."""
    for picture in pictures:
        height, width = picture.size
        for x, y in pixels:
            if not (0 <= x < width and 0 <= y < height):
                size = f'{width} pixels wide and {height} high'
                possible = f'X is 0 to {width - 1} and Y 0 to {height - 1}'
                raise ValueError(f'--pixel {x} {y}: {picture.path} is {size}, so {possible}.')


def dataset_meta(cfg: Config) -> dict:
    """Names and colours of the test data set's classes; the data need not be there."""
    found = _data_set(cfg)
    given = found.cfg.get('metainfo')
    # mmengine's data sets have no public way to them without being built
    load = getattr(found.cls, '_load_metainfo', None)
    return load(given) if load else dict(given or {})


def _data_set(cfg: Config) -> Entry | None:
    """The first test data set, inside of wrappers such as RepeatDataset and ConcatDataset."""
    return next((entry for entries in entries_of(cfg, 'test') for entry in entries), None)


def _loads_x(dataset: Entry) -> bool:
    return any(kind_of(step) == 'LoadXFromFile' for step in dataset.steps)


def _names(paths: Sequence[str]) -> list[str]:
    """Stems of files, with a number from the second file of a name on."""
    stems = [Path(path).stem for path in paths]
    numbers = [stems[: i + 1].count(stem) for i, stem in enumerate(stems)]
    return [stem if number == 1 else f'{stem}-{number}' for stem, number in zip(stems, numbers)]
