"""A contact sheet: samples of a data set as a config's pipeline gives them, with labels, objects and X."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement

from kd_methods.data_check.paths import check_paths
from kd_methods.datasets.entries import as_list, entries_of, kind_of, steps_in
from kd_methods.utils.errors import is_own_error
from kd_methods.visualize import draw
from kd_methods.visualize.draw import Page
from kd_methods.visualize.maps import Panel, Row
from kd_methods.visualize.predictions import IGNORED, Box, Classes, present, true_boxes, true_labels

#: Share of the values of X that the colours tell apart; what lies above is outliers.
SHARE = 0.99
TITLE = 30  # characters of a file's name that have room above a panel
MOST_PIXELS = 2**16  # of a picture's side, as far as it can be drawn


@dataclass
class Sample:
    """What is drawn of a sample.

    Attributes:
        title (str): Name of its file.
        rgb (np.ndarray): The image as it goes to the network's preprocessor, height x width x 3, uint8.
        x (np.ndarray): X of it, channels x height x width, float32; NaN where it was not measured.
        labels (np.ndarray | None): Label map.
        boxes (list[Box]): Objects, in pixels of the image.
        cover (tuple[float, float]): Height and width that the label map covers, in pixels of the image.
    """

    title: str
    rgb: np.ndarray
    x: np.ndarray
    labels: np.ndarray | None
    boxes: list[Box] = field(default_factory=list)
    cover: tuple[float, float] = (0.0, 0.0)


def browse(
    cfg: Config, out: Path, split: str = 'train', count: int = 12, columns: int = 4, seed: int = 0
) -> Path:
    """Draw a contact sheet.

    Args:
        cfg (Config): Distillation or plain config; none of its networks is built.
        out (Path): The PNG file.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to 'train'.
        count (int): Number of samples. Defaults to 12.
        columns (int): Samples beside one another. Defaults to 4.
        seed (int): Seed of the choice of samples and of each sample's augmentation. Defaults to 0.

    Raises:
        FileNotFoundError: The data is not there.
        ValueError: There is no such split, there are fewer samples, or one of them cannot be read.
    """
    if out.suffix.lower() != '.png' or out.is_dir():
        raise ValueError(f'--out {out}: expected the name of a PNG file, such as sheet.png')
    figure = draw.draw(contact_sheet(cfg, split, count, columns, seed))
    width, height = (round(side * draw.DPI) for side in figure.get_size_inches())
    if max(width, height) >= MOST_PIXELS:
        raise ValueError(
            f'--count {count} --columns {columns}: the picture would be {width} x {height} pixels, a side '
            f'may have {MOST_PIXELS - 1}. Take fewer samples, or other columns'
        )
    return draw.save(figure, out)


def contact_sheet(
    cfg: Config, split: str = 'train', count: int = 12, columns: int = 4, seed: int = 0
) -> Page:
    """Compute a contact sheet; see :func:`browse`."""
    for option, value, least in (('count', count, 1), ('columns', columns, 1), ('seed', seed, 0)):
        if value < least:
            raise ValueError(f'--{option} {value}: expected {least} or more')
    key = f'{split}_dataloader'
    loader = next(iter(as_list(cfg.get(key))), None) or {}  # the first one of a list
    dataset_cfg = loader.get('dataset')
    if not isinstance(dataset_cfg, Mapping):
        there = [name for name in ('train', 'val', 'test') if cfg.get(f'{name}_dataloader')]
        raise ValueError(
            f'--split {split}: CONFIG has no {key}.dataset. '
            + (f'It has data for {", ".join(there)}' if there else 'Inherit a data set with _base_')
        )
    scope = cfg.get('default_scope') or 'mmengine'
    init_default_scope(scope)
    only = Config({key: loader, 'default_scope': scope})
    check_paths(only, split)  # no metric has a say here
    steps = next(entries_of(only, split))[0].steps
    with _named(f'{key}.dataset: {dataset_cfg.get("type")} cannot be built'):
        dataset = DATASETS.build(_with_holes(copy.deepcopy(dataset_cfg)))
    if count > len(dataset):
        raise ValueError(
            f'--count {count}: the {split} data set ({type(dataset).__name__}) has {len(dataset)} samples'
        )
    chosen = sorted(np.random.default_rng(seed).choice(len(dataset), count, replace=False).tolist())
    samples = [
        _read(dataset, index, f'{key}.dataset', steps, [seed, place]) for place, index in enumerate(chosen)
    ]
    classes = Classes(getattr(dataset, 'metainfo', None) or {})
    heading = (
        f'{Path(cfg.filename).stem if cfg.filename else "config"}: {count} of {len(dataset)} {split} '
        f'samples ({type(dataset).__name__}), as the pipeline gives them, seed {seed}'
    )
    return _page(heading, samples, classes, min(columns, count))


def _read(dataset: Any, index: int, key: str, steps: Sequence[Mapping], seed: Sequence[int]) -> Sample:
    """One sample, with an augmentation of its own."""
    drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)
    with _named(f'{key}: sample {index} cannot be read{_path_of(dataset, index)}'):
        data = dataset[index]
    inputs, sample = data['inputs'], data['data_samples']
    if not isinstance(inputs, torch.Tensor) or inputs.dim() != 3 or len(inputs) == 2:
        found = tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else type(inputs).__name__
        raise ValueError(
            f'{key}: the pipeline gives inputs of {found}, expected an image of channels x height x width, '
            'with 1 channel, 3 or, with X, more. Only such are drawn'
        )
    image, x = inputs[:3].float().numpy(), inputs[3:].float().numpy()
    name = Path(sample.metainfo.get('img_path') or f'sample {index}').stem
    title = name if len(name) <= TITLE else f'{name[: TITLE - 1]}…'
    across, down = _resized_before_truth(sample, steps)
    labels = true_labels(sample)
    boxes = true_boxes(sample, (1 / across, 1 / down)) or []
    boxes += [
        Box(b.label, b.corners, b.score, b.mask, True)
        for b in true_boxes(sample, (1 / across, 1 / down), 'ignored_instances') or []
    ]
    for box in boxes:
        if box.mask is not None:  # of a file's size, it may lack what a Pad has added
            size = (round(image.shape[1] / down), round(image.shape[2] / across))
            box.mask = np.pad(box.mask, [(0, max(0, whole - n)) for whole, n in zip(size, box.mask.shape)])
    cover = (0.0, 0.0) if labels is None else (labels.shape[0] * down, labels.shape[1] * across)
    return Sample(title, _rgb(image, steps), x, labels, boxes, cover)


def _rgb(image: np.ndarray, steps: Sequence[Mapping]) -> np.ndarray:
    """An image as the pipeline packs it -> red, green, blue as they are seen: H x W x 3, uint8."""
    bgr = True
    for step in steps:
        if kind_of(step) == 'Normalize':
            image = image * np.reshape(step['std'], (-1, 1, 1)) + np.reshape(step['mean'], (-1, 1, 1))
            bgr = not step.get('to_rgb', True)
    if len(image) == 1:
        image = np.repeat(image, 3, 0)
    elif bgr:
        image = image[::-1]
    return np.ascontiguousarray(image.clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0))


def _resized_before_truth(sample: BaseDataElement, steps: Sequence[Mapping]) -> tuple[float, float]:
    """Factors of width and height from truth to image; not 1 in test pipelines, which load the truth when
    they have resized.
    """
    kinds = [kind_of(step) for step in steps]
    loads = next((i for i, kind in enumerate(kinds) if 'Annotations' in kind), 0)
    if not any('Resize' in kind for kind in kinds[:loads]):
        return 1.0, 1.0
    across, down = np.broadcast_to(sample.metainfo.get('scale_factor', 1.0), 2)
    return float(across), float(down)


def _page(heading: str, samples: Sequence[Sample], classes: Classes, columns: int) -> Page:
    rows: list[Row] = []
    scales = [_scale([s.x[i] for s in samples]) for i in range(min(len(s.x) for s in samples))]
    objects = any(sample.boxes for sample in samples)
    for start in range(0, len(samples), columns):
        group = samples[start : start + columns]
        empty = [None] * (columns - len(group))
        panels = [Panel(s.rgb, s.rgb.shape[:2], s.title, s.boxes) for s in group]
        rows.append(Row('image, objects' if objects else 'image', panels + empty))
        if any(s.labels is not None for s in samples):
            panels = [None if s.labels is None else _label_panel(s, classes) for s in group]
            rows.append(Row('labels', panels + empty))
        if len(scales) == 3:  # normals, HHA
            rows.append(Row('X', [Panel(_colours(s.x, scales), s.rgb.shape[:2]) for s in group] + empty))
        else:
            rows += [
                Row(
                    'X' if len(scales) == 1 else f'X, channel {i}',
                    [Panel(s.x[i], s.rgb.shape[:2]) for s in group] + empty,
                    scale,
                )
                for i, scale in enumerate(scales)
            ]
    size = tuple(max(s.rgb.shape[i] for s in samples) for i in (0, 1))
    legend = {label for s in samples if s.labels is not None for label in present(s.labels)}
    legend |= {box.label for s in samples for box in s.boxes}
    if any((s.labels == IGNORED).any() for s in samples if s.labels is not None):
        legend.add(IGNORED)
    return Page(
        heading,
        [''] * columns,
        rows,
        size,
        'viridis',
        'X (grey: not measured)' if scales and len(scales) != 3 else '',
        legend=sorted(legend),
        classes=classes,
    )


def _label_panel(sample: Sample, classes: Classes) -> Panel:
    """A painted label map; ignored pixels are hatched, so that they are told from the page and from every
    class.
    """
    colours, (height, width) = classes.paint(sample.labels), sample.labels.shape
    stripes = np.add.outer(np.arange(height), np.arange(width)) // max(2, min(height, width) // 24) % 2
    ignored = sample.labels == IGNORED
    colours[ignored] = np.where(stripes, 235, 165)[ignored][:, None]
    return Panel(colours, sample.cover, labels=present(sample.labels))


def _scale(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Values of the first and the last colour."""
    values = np.concatenate([x[np.isfinite(x)] for x in maps])
    return (float(values.min()), float(np.quantile(values, SHARE))) if values.size else (0.0, 1.0)


def _colours(x: np.ndarray, scales: Sequence[tuple[float, float]]) -> np.ndarray:
    """Three channels as red, green and blue."""
    shares = np.stack([(channel - low) / ((high - low) or 1) for channel, (low, high) in zip(x, scales)], -1)
    hole = np.array([int(draw.HOLE[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    return np.where(np.isnan(shares), hole, (255 * np.nan_to_num(shares).clip(0, 1)).round().astype(np.uint8))


def _with_holes(node: Any) -> Any:
    """Have X packed with NaN where it was not measured, in place of the value that networks get there."""
    for step in steps_in(node):
        if kind_of(step) == 'PackRGBXInputs':
            step['fill'] = float('nan')
    return node


def _path_of(dataset: Any, index: int) -> str:
    """Path of a sample's image, for messages; not all wrappers know it."""
    info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
    return f' ({info["img_path"]})' if 'img_path' in info else ''


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Name what failed, unless an error of this project has."""
    try:
        yield
    except Exception as error:  # of any transform
        if is_own_error(error):
            raise
        raise ValueError(
            f'{what}: {type(error).__name__}: {error}. `python tools/data/check.py CONFIG` looks at all files'
        ) from error
