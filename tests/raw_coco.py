"""A small data set in the form of COCO, and a config that reads it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from mmengine.config import Config
from raw_segmentation import put

CLASSES = ('cat', 'dog', 'owl')


def write_coco(root: Path, split: str, count: int) -> None:
    """Images of 20 x 30 pixels, each with two objects."""
    images = [dict(id=i + 1, file_name=f'{i:03d}.jpg', height=20, width=30) for i in range(count)]
    objects = [
        dict(
            id=2 * i + j + 1,
            image_id=i + 1,
            category_id=10 * ((i + j) % 3 + 1),
            bbox=[2 + j, 3, 10, 8],
            area=80,
            iscrowd=0,
            segmentation=[[2, 3, 12, 3, 12, 11]],
        )
        for i in range(count)
        for j in range(2)
    ]
    categories = [dict(id=10 * (k + 1), name=name) for k, name in enumerate(CLASSES)]
    for image in images:
        put(root / split / image['file_name'], np.zeros((20, 30, 3), np.uint8))
    (root / f'{split}.json').write_text(
        json.dumps(dict(images=images, annotations=objects, categories=categories))
    )


def small_coco(root: Path) -> SimpleNamespace:
    """6 images with 12 objects, and 3 to validate: `.root`, `.cfg`, `.train`, and `.change(function)`, which
    edits a JSON file.
    """
    write_coco(root, 'train', 6)
    write_coco(root, 'val', 3)

    def of(split: str) -> dict:
        load = [
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs'),
        ]
        return dict(
            batch_size=2,
            num_workers=0,
            dataset=dict(
                type='CocoDataset',
                data_root=str(root),
                ann_file=f'{split}.json',
                data_prefix=dict(img=split),
                pipeline=load,
                metainfo=dict(classes=CLASSES),
                filter_cfg=dict(filter_empty_gt=True),
            ),
        )

    def change(edit, split: str = 'train') -> None:
        content = json.loads((root / f'{split}.json').read_text())
        edit(content)
        (root / f'{split}.json').write_text(json.dumps(content))

    cfg = Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='MaskRCNN',
                roi_head=dict(
                    bbox_head=dict(type='Shared2FCBBoxHead', num_classes=3),
                    mask_head=dict(type='FCNMaskHead', num_classes=3),
                ),
            ),
            train_dataloader=of('train'),
            val_dataloader=of('val'),
            val_evaluator=dict(type='CocoMetric', ann_file=str(root / 'val.json')),
        )
    )
    return SimpleNamespace(root=root, cfg=cfg, train=cfg.train_dataloader.dataset, change=change)
