"""A contact sheet: samples of a data set as a config's pipeline gives them, with labels, objects and X."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement

from kd_methods.data_check.paths import check_paths
from kd_methods.datasets.entries import as_list, entries_of, kind_of
from kd_methods.utils.errors import describe_error, is_own_error
from kd_methods.visualize import draw
from kd_methods.visualize.draw import Sheet
from kd_methods.visualize.maps import Panel, Row
from kd_methods.visualize.predictions import IGNORED, Classes, present, true_boxes, true_labels

#: Part of the values of X that the colours tell apart; larger ones are outliers.
QUANTILE = 0.99
TITLE = 30  # characters of a file's name that have room above a panel


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
    return draw.save(draw.draw(contact_sheet(cfg, split, count, columns, seed)), out)


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
    classes = Classes(getattr(dataset, 'metainfo', None) or {})
    samples = []
    for number, index in enumerate(sorted(chosen.tolist())):
        sample, inputs = _read(dataset, index, key, [seed, number])
        samples.append(_drawn(inputs, sample, entries[0].steps, classes, f'sample {index}'))
    config = Path(cfg.filename).stem if cfg.filename else 'config'
    heading = f'{config}: {count} of {len(dataset)} {split} samples ({name}), as the pipeline gives them'
    return _sheet(f'{heading}, seed {seed}', samples, classes, min(columns, count))


def _read(dataset: Any, index: int, key: str, seed: Sequence[int]) -> tuple[BaseDataElement, torch.Tensor]:
    """One sample and its inputs, with its own random augmentation."""
    drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)
    info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}  # not all wrappers
    path = f' ({info["img_path"]})' if 'img_path' in info else ''
    with _named(f'{key}.dataset: sample {index} cannot be read{path}'):
        data = dataset[index]
    inputs = data['inputs']
    if not isinstance(inputs, torch.Tensor) or inputs.dim() != 3 or len(inputs) == 2:
        found = tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else type(inputs).__name__
        form = 'an image of channels x height x width, with 1 channel, 3 or, with X, more'
        raise ValueError(f'{key}.dataset: the pipeline gives inputs of {found}, expected {form}')
    return data['data_samples'], inputs.float()


def _drawn(
    inputs: torch.Tensor, sample: BaseDataElement, steps: Sequence[Mapping], classes: Classes, name: str
) -> tuple[Panel, Panel | None, np.ndarray]:
    """What is drawn of a sample: image with objects, label map, and X (channels x H x W, NaN in holes)."""
    image = inputs[:3].numpy()
    stem = Path(sample.metainfo.get('img_path') or name).stem
    title = stem if len(stem) <= TITLE else f'{stem[: TITLE - 1]}…'
    across, down = _resized_before_truth(sample, steps)
    factor = (1 / across, 1 / down)
    boxes = [box for ignored in (False, True) for box in true_boxes(sample, factor, ignored) or []]
    for box in boxes:
        if box.mask is not None:  # of a file's size, it may lack what a Pad has added
            size = (round(image.shape[1] / down), round(image.shape[2] / across))
            box.mask = np.pad(box.mask, [(0, max(0, whole - n)) for whole, n in zip(size, box.mask.shape)])
    labels = true_labels(sample)
    painted = None if labels is None else _label_panel(labels, (down, across), classes)
    return Panel(_rgb(image, steps), image.shape[1:], title, boxes), painted, inputs[3:].numpy()


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


def _sheet(heading: str, samples: Sequence[tuple], classes: Classes, columns: int) -> Sheet:
    """Lines of samples, each with its rows: images, labels, X."""
    images, labels, xs = zip(*samples)
    channels = range(min(map(len, xs)))
    scales = [_scale([x[i] for x in xs]) for i in channels]
    rows: list[Row] = []
    for start in range(0, len(samples), columns):
        line = slice(start, start + columns)
        rows.append(Row('image, objects' if any(p.boxes for p in images) else 'image', list(images[line])))
        if any(labels):
            rows.append(Row('labels', list(labels[line])))
        if len(channels) == 3:  # normals, HHA
            rows.append(Row('X', [Panel(_colours(x, scales), x.shape[1:]) for x in xs[line]]))
            continue
        for i in channels:
            label = 'X' if len(channels) == 1 else f'X, channel {i}'
            rows.append(Row(label, [Panel(x[i], x.shape[1:]) for x in xs[line]], scales[i]))
    for row in rows:
        row.panels += [None] * (columns - len(row.panels))
    legend = {label for panel in labels if panel is not None for label in panel.labels}
    legend |= {box.label for panel in images for box in panel.boxes}
    size = tuple(max(panel.cover[i] for panel in images) for i in (0, 1))
    bar = 'X (grey: not measured)' if len(channels) not in (0, 3) else ''
    explained = dict(bar=bar, legend=sorted(legend), classes=classes)
    return Sheet(heading, [''] * columns, rows, size, 'viridis', **explained)


def _label_panel(labels: np.ndarray, factor: tuple[float, float], classes: Classes) -> Panel:
    """A painted label map; ignored pixels are hatched, unlike the page and every class."""
    colours, (height, width) = classes.paint(labels), labels.shape
    stripes = np.add.outer(np.arange(height), np.arange(width)) // max(2, min(height, width) // 24) % 2
    ignored = labels == IGNORED
    colours[ignored] = np.where(stripes, 235, 165)[ignored][:, None]
    cover = (height * factor[0], width * factor[1])
    return Panel(colours, cover, labels=present(labels) + [IGNORED] * bool(ignored.any()))


def _scale(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Values of the first and the last colour."""
    values = np.concatenate([x[np.isfinite(x)] for x in maps])
    return (float(values.min()), float(np.quantile(values, QUANTILE))) if values.size else (0.0, 1.0)


def _colours(x: np.ndarray, scales: Sequence[tuple[float, float]]) -> np.ndarray:
    """Three channels as red, green and blue."""
    parts = np.stack([(values - low) / ((high - low) or 1) for values, (low, high) in zip(x, scales)], -1)
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
        raise ValueError(f'{what}: {describe_error(error, 10_000)}. {cure}') from error
