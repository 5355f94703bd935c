"""A small data set of image and label files with three classes, and configs that name it."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

CLASSES = ('ground', 'wall', 'door')
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


def put(path: Path, array: np.ndarray, **options) -> Path:
    """Write an image or a label map."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def label_map(seed: int = 0, high: int = 3, size: tuple[int, int] = (16, 24)) -> np.ndarray:
    """Every value below ``high``, and 255."""
    label = (
        np.random.default_rng(seed)
        .permutation(np.resize(np.arange(high), size).ravel())
        .reshape(size)
        .astype(np.uint8)
    )
    label[-1, 0] = 255
    return label


def write_split(
    root: Path, split: str, count: int, images: str = '.png', labels: str = '.png', high: int = 3
) -> None:
    """``SPLIT/images/000.png`` and ``SPLIT/labels/000.png``, 16 x 24 pixels."""
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (16, 24, 3)).astype(np.uint8)
        put(root / split / 'images' / f'{i:03d}{images}', noise)
        put(root / split / 'labels' / f'{i:03d}{labels}', label_map(i, high))


def data_set(root: Path, split: str, kind: str = 'BaseSegDataset', **keys) -> dict:
    """The config of one data set."""
    named = dict(metainfo=dict(classes=CLASSES)) if kind == 'BaseSegDataset' else {}
    return {
        **named,
        **dict(
            type=kind,
            data_root=str(root),
            img_suffix='.png',
            seg_map_suffix='.png',
            pipeline=LOAD,
            data_prefix=dict(img_path=f'{split}/images', seg_map_path=f'{split}/labels'),
        ),
        **keys,
    }


def head(classes: int = 3, **keys) -> dict:
    """As much of a head as says what it classifies."""
    return dict(type='FCNHead', num_classes=classes, loss_decode=dict(type='CrossEntropyLoss'), **keys)


def config(train: dict, val: dict | None = None, classes: int = 3, **keys) -> Config:
    """A config with these data sets, and a model of that many classes."""
    splits = dict(train=train, **({'val': val, 'test': val} if val else {}))
    return Config(
        dict(
            dict(
                default_scope='mmseg',
                model=dict(type='EncoderDecoder', decode_head=head(classes)),
                **{
                    f'{split}_dataloader': dict(batch_size=2, num_workers=0, dataset=dict(dataset))
                    for split, dataset in splits.items()
                },
            ),
            **keys,
        )
    )
