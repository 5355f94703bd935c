"""A contact sheet: samples of a data set as a config's pipeline gives them, with labels, objects and X."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement

from kd_methods.data_check.paths import check_paths
from kd_methods.datasets.entries import as_list, entries_of, kind_of
from kd_methods.utils.errors import is_own_error
from kd_methods.visualize import draw
from kd_methods.visualize.draw import Sheet
from kd_methods.visualize.maps import Panel, Row
from kd_methods.visualize.predictions import IGNORED, Box, Classes, present, true_boxes, true_labels

#: Part of the values of X that the colours tell apart; larger ones are outliers.
QUANTILE = 0.99
TITLE = 30  # characters of a file's name that have room above a panel
MOST_PIXELS = 2**16  # of a picture's side, as far as it can be drawn


@dataclass
class DrawnSample:
    """What is drawn of a sample.

    Attributes:
        title (str): Name of its file.
        rgb (np.ndarray): The image as the network's preprocessor gets it, height x width x 3, uint8.
        x (np.ndarray): X of it, channels x height x width, float32; NaN where it was not measured.
        labels (np.ndarray | None): Label map.
        boxes (list[Box]): Objects, in pixels of the image.
        cover (tuple[float, float]): Height and width that the label map covers, in pixels of the image.
    """

    title: str
    rgb: np.ndarray
    x: np.ndarray
    labels: np.ndarray | None
    boxes: list[Box]
    cover: tuple[float, float]


def browse(
    cfg: Config, out: Path, split: str = 'train', count: int = 12, columns: int = 4, seed: int = 0
) -> Path:
    """Draw a contact sheet.

    Args:
        cfg (Config): Distillation or plain config; none of its networks is built.
        out (Path): The PNG file.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to 'train'.
        count (int): Number of samples. Defaults to 12.
        columns (int): Samples in a line. Defaults to 4.
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
) -> Sheet:
    """Compute a contact sheet; see :func:`browse`."""
    for option, value, least in (('count', count, 1), ('columns', columns, 1), ('seed', seed, 0)):
        if value < least:
            raise ValueError(f'--{option} {value}: expected {least} or more')
    key = f'{split}_dataloader'
    loader = next(iter(as_list(cfg.get(key))), None) or {}  # the first one of a list
    if not isinstance(loader.get('dataset'), Mapping):
        there = [name for name in ('train', 'val', 'test') if cfg.get(f'{name}_dataloader')]
        cure = f'It has data for {", ".join(there)}' if there else 'Inherit a data set with _base_'
        raise ValueError(f'--split {split}: CONFIG has no {key}.dataset. {cure}')
    scope = cfg.get('default_scope') or 'mmengine'
    init_default_scope(scope)
    only = Config({key: copy.deepcopy(loader), 'default_scope': scope})  # without what its metric reads
    check_paths(only, split)
    entries = next(entries_of(only, split))
    for step in (step for entry in entries for step in entry.steps):
        if kind_of(step) == 'PackRGBXInputs':  # X where it was not measured, in place of what networks get
            step['fill'] = float('nan')
    with _named(f'{key}.dataset: {loader["dataset"].get("type")} cannot be built'):
        dataset = DATASETS.build(only[key].dataset)
    name = type(dataset).__name__
    if count > len(dataset):
        raise ValueError(f'--count {count}: the {split} data set ({name}) has {len(dataset)} samples')
    chosen = np.random.default_rng(seed).choice(len(dataset), count, replace=False)
    steps = entries[0].steps
    samples = [_read(dataset, i, key, steps, [seed, n]) for n, i in enumerate(sorted(chosen.tolist()))]
    heading = (
        f'{Path(cfg.filename).stem if cfg.filename else "config"}: {count} of {len(dataset)} {split} '
        f'samples ({name}), as the pipeline gives them, seed {seed}'
    )
    classes = Classes(getattr(dataset, 'metainfo', None) or {})
    return _sheet(heading, samples, classes, min(columns, count))


def _read(dataset: Any, index: int, key: str, steps: Sequence[Mapping], seed: Sequence[int]) -> DrawnSample:
    """One sample, with its own random augmentation."""
    drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)
    info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}  # not all wrappers
    path = f' ({info["img_path"]})' if 'img_path' in info else ''
    with _named(f'{key}.dataset: sample {index} cannot be read{path}'):
        data = dataset[index]
    inputs, sample = data['inputs'], data['data_samples']
    if not isinstance(inputs, torch.Tensor) or inputs.dim() != 3 or len(inputs) == 2:
        found = tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else type(inputs).__name__
        raise ValueError(
            f'{key}.dataset: the pipeline gives inputs of {found}, expected an image of channels x height x '
            'width, with 1 channel, 3 or, with X, more. Only such are drawn'
        )
    image, x = inputs[:3].float().numpy(), inputs[3:].float().numpy()
    name = Path(sample.metainfo.get('img_path') or f'sample {index}').stem
    title = name if len(name) <= TITLE else f'{name[: TITLE - 1]}…'
    across, down = _resized_before_truth(sample, steps)
    labels, factor = true_labels(sample), (1 / across, 1 / down)
    boxes = [box for ignored in (False, True) for box in true_boxes(sample, factor, ignored) or []]
    for box in boxes:
        if box.mask is not None:  # of a file's size, it may lack what a Pad has added
            size = (round(image.shape[1] / down), round(image.shape[2] / across))
            box.mask = np.pad(box.mask, [(0, max(0, whole - n)) for whole, n in zip(size, box.mask.shape)])
    cover = (0.0, 0.0) if labels is None else (labels.shape[0] * down, labels.shape[1] * across)
    return DrawnSample(title, _rgb(image, steps), x, labels, boxes, cover)


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
    """Factors of width and height from truth to image; not 1 where truth is loaded behind a resize."""
    kinds = [kind_of(step) for step in steps]
    loads = next((i for i, kind in enumerate(kinds) if 'Annotations' in kind), 0)
    if not any('Resize' in kind for kind in kinds[:loads]):
        return 1.0, 1.0
    across, down = np.broadcast_to(sample.metainfo.get('scale_factor', 1.0), 2)
    return float(across), float(down)


def _sheet(heading: str, samples: Sequence[DrawnSample], classes: Classes, columns: int) -> Sheet:
    channels = range(min(len(s.x) for s in samples))
    scales = [_scale([s.x[i] for s in samples]) for i in channels]
    objects, labelled = any(s.boxes for s in samples), [s for s in samples if s.labels is not None]
    rows: list[Row] = []
    for start in range(0, len(samples), columns):
        group = samples[start : start + columns]
        images = [Panel(s.rgb, s.rgb.shape[:2], s.title, s.boxes) for s in group]
        rows.append(Row('image, objects' if objects else 'image', images))
        if labelled:
            rows.append(Row('labels', [_label_panel(s, classes) for s in group]))
        if len(channels) == 3:  # normals, HHA
            rows.append(Row('X', [Panel(_colours(s.x, scales), s.rgb.shape[:2]) for s in group]))
            continue
        for i in channels:
            label = 'X' if len(channels) == 1 else f'X, channel {i}'
            rows.append(Row(label, [Panel(s.x[i], s.rgb.shape[:2]) for s in group], scales[i]))
    for row in rows:
        row.panels += [None] * (columns - len(row.panels))
    legend = {label for s in labelled for label in present(s.labels)}
    legend |= {box.label for s in samples for box in s.boxes}
    legend |= {IGNORED} if any((s.labels == IGNORED).any() for s in labelled) else set()
    size = tuple(max(s.rgb.shape[i] for s in samples) for i in (0, 1))
    bar = 'X (grey: not measured)' if scales and len(scales) != 3 else ''
    explained = dict(bar=bar, legend=sorted(legend), classes=classes)
    return Sheet(heading, [''] * columns, rows, size, 'viridis', **explained)


def _label_panel(sample: DrawnSample, classes: Classes) -> Panel | None:
    """A painted label map; ignored pixels are hatched, unlike the page and every class."""
    if sample.labels is None:
        return None
    colours, (height, width) = classes.paint(sample.labels), sample.labels.shape
    stripes = np.add.outer(np.arange(height), np.arange(width)) // max(2, min(height, width) // 24) % 2
    ignored = sample.labels == IGNORED
    colours[ignored] = np.where(stripes, 235, 165)[ignored][:, None]
    return Panel(colours, sample.cover, labels=present(sample.labels))


def _scale(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Values of the first and the last colour."""
    values = np.concatenate([x[np.isfinite(x)] for x in maps])
    return (float(values.min()), float(np.quantile(values, QUANTILE))) if values.size else (0.0, 1.0)


def _colours(x: np.ndarray, scales: Sequence[tuple[float, float]]) -> np.ndarray:
    """Three channels as red, green and blue."""
    parts = np.stack([(channel - low) / ((high - low) or 1) for channel, (low, high) in zip(x, scales)], -1)
    hole = np.frombuffer(bytes.fromhex(draw.HOLE[1:]), np.uint8)
    return np.where(np.isnan(parts), hole, (255 * np.nan_to_num(parts).clip(0, 1)).round().astype(np.uint8))


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Name what failed, unless an error of this project has."""
    try:
        yield
    except Exception as error:  # of any transform
        if is_own_error(error):
            raise
        cure = '`python tools/data/check.py CONFIG` looks at all files'
        raise ValueError(f'{what}: {type(error).__name__}: {error}. {cure}') from error
