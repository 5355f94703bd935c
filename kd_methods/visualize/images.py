"""The images that are drawn: of the test data set by number, or files."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS

from kd_methods.data_check.paths import check_paths
from kd_methods.datasets.entries import unwrap
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
        load (Any): Called without arguments, runs the pipeline and gives the packed image: ``inputs`` and
            ``data_samples``.
        scaled_truth (bool): The pipeline resizes boxes with the image. Defaults to False.
    """

    name: str
    path: str
    rgb: np.ndarray
    load: Any
    scaled_truth: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[:2]

    def batch(self) -> dict:
        """The raw image with its data sample, as a dataloader would collate it."""
        return pseudo_collate([self.load()])


def test_data(cfg: Config) -> Config:
    """The config's test data set, such that its images have all channels that one of the networks sees.

    A student that sees RGB alone is tested on RGB, so its test data set reads no X. Then the teacher's own
    config says how X is read: its test pipeline, and where X lies below the data root.

    Raises:
        ValueError: There is no test data set; or neither config says how to read X.
    """
    if not isinstance((cfg.get('test_dataloader') or {}).get('dataset'), Mapping):
        raise ValueError(
            f'CONFIG has no {KEY}, of which the images and their pipeline are taken. Inherit a data set '
            'with _base_.'
        )
    cfg = copy.deepcopy(cfg)
    layout = ChannelLayout.parse(cfg.model.get('inputs'))
    entry = unwrap(cfg.test_dataloader.dataset)
    if (
        layout is None
        or set(layout.parts['student'] + layout.parts['teacher']) <= {next(iter(layout.channels))}
        or _loads_x(entry)
    ):
        return cfg
    path = cfg.model.teacher.get('cfg_path') if isinstance(cfg.model.get('teacher'), Mapping) else None
    teacher = (
        (load_config(path, 'model.teacher.cfg_path').get('test_dataloader') or {}).get('dataset')
        if path
        else None
    )
    if teacher is None or not _loads_x(unwrap(teacher)):
        raise ValueError(
            f'{KEY}: its pipeline loads no X, which the teacher sees (model.inputs), and the teacher has no '
            'config that says how. Put LoadXFromFile and PackRGBXInputs into that pipeline, with '
            'data_prefix.x_path.'
        )
    entry.pipeline = unwrap(teacher).pipeline
    entry.data_prefix.x_path = unwrap(teacher).data_prefix.x_path
    return cfg


def pictures_by_index(cfg: Config, indices: Sequence[int]) -> list[Picture]:
    """Images of the test data set by their numbers.

    Raises:
        FileNotFoundError: The data is not there.
        ValueError: There is no such number.
    """
    check_paths(Config(dict(test_dataloader=cfg.test_dataloader)), 'test')  # no metric has a say here
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    wrong = [i for i in indices if not 0 <= i < len(dataset)]
    if wrong:
        raise ValueError(
            f'--index {" ".join(map(str, wrong))}: the test data set ({type(dataset).__name__}) has '
            f'{len(dataset)} images, 0 to {len(dataset) - 1}.'
        )
    scaled = _scales_truth(unwrap(cfg.test_dataloader.dataset).get('pipeline') or [])
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
    paths = list(dict.fromkeys(paths))
    steps = list(unwrap(cfg.test_dataloader.dataset).get('pipeline') or [])
    if _loads_x(dict(pipeline=steps)):
        raise ValueError(
            '--image: a network of this config sees X beside the image, and a file alone has none. Take '
            'images of the data set with --index, or draw the student alone with its plain config, '
            'WORK_DIR/student_config.py.'
        )
    pipeline = Compose([step for step in steps if 'Annotations' not in str(step.get('type'))])
    return [
        Picture(
            name, path, read_image(path, '--image'), lambda path=path: pipeline(dict(img_path=path, img_id=0))
        )
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
    import mmcv
    from mmengine import fileio

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
    entry = unwrap(cfg.test_dataloader.dataset)
    cls = DATASETS.get(entry.type) if isinstance(entry.get('type'), str) else entry.get('type')
    return (
        cls._load_metainfo(entry.get('metainfo'))
        if hasattr(cls, '_load_metainfo')
        else dict(entry.get('metainfo') or {})
    )


def _loads_x(dataset: Mapping) -> bool:
    return any(step.get('type') == 'LoadXFromFile' for step in dataset.get('pipeline') or [])


def _scales_truth(pipeline: Sequence[Mapping]) -> bool:
    """Whether the image is resized after its boxes were loaded, and they with it."""
    kinds = [str(step.get('type')) for step in pipeline]
    loads = [i for i, kind in enumerate(kinds) if 'Annotations' in kind]
    return bool(loads) and any('Resize' in kind for kind in kinds[loads[0] :])


def _names(paths: Sequence[str]) -> Iterator[str]:
    """Stems of files, with a number where one comes again."""
    seen: dict[str, int] = {}
    for stem in (Path(path).stem for path in paths):
        seen[stem] = seen.get(stem, 0) + 1
        yield stem if seen[stem] == 1 else f'{stem}-{seen[stem]}'
