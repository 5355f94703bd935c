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
    """An image to draw.

    Attributes:
        name (str): First part of its files' names.
        path (str): Of the file.
        rgb (np.ndarray): The file's image, height x width x 3, uint8.
        load (Callable): Runs the pipeline and gives the packed image: ``inputs`` and ``data_samples``.
        scaled_truth (bool): The pipeline resizes boxes with the image. Defaults to False.
    """

    name: str
    path: str
    rgb: np.ndarray
    load: Callable[[], dict]
    scaled_truth: bool = False

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

    Raises:
        ValueError: There is no test data set; or neither config says how to read X.
    """
    if not isinstance((cfg.get('test_dataloader') or {}).get('dataset'), Mapping):
        cure = 'Inherit a data set with _base_.'
        raise ValueError(f'CONFIG has no {KEY}, which gives the images and their pipeline. {cure}')
    cfg = copy.deepcopy(cfg)
    layout, own = ChannelLayout.parse(cfg.model.get('inputs')), _data_set(cfg)
    seen = set(layout.parts['student'] + layout.parts['teacher']) if layout else set()
    if not layout or seen <= {next(iter(layout.channels))} or _loads_x(own):
        return cfg
    teacher = cfg.model.get('teacher')
    path = teacher.get('cfg_path') if isinstance(teacher, Mapping) else None
    other = _data_set(load_config(path, 'model.teacher.cfg_path')) if path else None
    if other is None or not _loads_x(other):
        raise ValueError(
            f'{KEY}: its pipeline loads no X, which the teacher sees (model.inputs), and the teacher has no '
            'config that says how. Put LoadXFromFile and PackRGBXInputs into that pipeline, with '
            'data_prefix.x_path.'
        )
    own.cfg.pipeline = other.cfg.pipeline
    own.cfg.data_prefix.x_path = other.cfg.data_prefix.x_path
    return cfg


def pictures_by_index(cfg: Config, indices: Sequence[int]) -> list[Picture]:
    """Images of the test data set by their numbers.

    Raises:
        FileNotFoundError: The data is not there.
        ValueError: There is no such number.
    """
    check_paths(Config(dict(test_dataloader=cfg.test_dataloader)), 'test')  # without what its metric reads
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    wrong = ' '.join(str(i) for i in indices if not 0 <= i < len(dataset))
    if wrong:
        name, count = type(dataset).__name__, len(dataset)
        raise ValueError(f'--index {wrong}: the test data set ({name}) has {count} images, 0 to {count - 1}.')
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
    """Images by their files, which go through the test pipeline without annotations.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no image; or the pipeline needs more than an image.
    """
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f'--image: no file {path!r}')
    paths, dataset = list(dict.fromkeys(paths)), _data_set(cfg)
    if _loads_x(dataset):
        raise ValueError(
            '--image: a network of this config sees X and RGB, and a file has no X. Take images of the data '
            'set with --index, or draw the student alone with its plain config, WORK_DIR/student_config.py.'
        )
    steps = dataset.cfg.get('pipeline') or []
    pipeline = Compose([step for step in steps if 'Annotations' not in kind_of(step)])
    return [
        Picture(name, path, read_image(path, '--image'), lambda p=path: pipeline(dict(img_path=p, img_id=0)))
        for name, path in zip(_names(paths), paths)
    ]


def read_image(path: str, key: str) -> np.ndarray:
    """An image file as the pipelines read it, but red, green, blue.

    Args:
        path (str): The file.
        key (str): Config key or option that named it, for messages.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        image = mmcv.imfrombytes(fileio.get(path), flag='color', channel_order='rgb')
    except Exception as error:  # of OpenCV, of a file backend
        raise ValueError(f'{key}: {path!r} cannot be read as an image: {type(error).__name__}') from error
    if image is None:
        raise ValueError(f'{key}: {path!r} cannot be read as an image.')
    return image


def check_pixels(pixels: Sequence[tuple[int, int]], pictures: Sequence[Picture]) -> None:
    """Raise unless each pixel lies in each image."""
    for picture in pictures:
        height, width = picture.size
        for x, y in pixels:
            if not (0 <= x < width and 0 <= y < height):
                raise ValueError(
                    f'--pixel {x} {y}: {picture.path} is {width} pixels wide and {height} high, so X is 0 '
                    f'to {width - 1} and Y 0 to {height - 1}.'
                )


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
