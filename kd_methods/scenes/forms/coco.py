"""The form of COCO 2017: boxes and instance masks."""

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from kd_methods.scenes.forms.base import SceneForm, save_jpeg
from kd_methods.scenes.maker import Scene
from kd_methods.scenes.sources import SPLITS

CLASSES = tuple('0123456789')  # of a sign: the digit on it


class CocoForm(SceneForm):
    """COCO 2017: ``{train,val}2017/000000000001.jpg`` and ``annotations/instances_{train,val}2017.json``.

    Each sign is an object of the category of its digit (ids 1 to 10, names '0' to '9'). Masks are run
    lengths: a sign behind a bar is in parts and may have holes, which polygons would lose.
    """

    def bases(self) -> list[str]:
        return ['scenes_det', 'scenes_inst']

    def folders(self) -> list[str]:
        return [*(f'{split}2017' for split in SPLITS), 'annotations']

    def write(self, out: Path, split: str, index: int, scene: Scene) -> dict:
        name = f'{index + 1:012d}.jpg'
        save_jpeg(out / f'{split}2017' / name, scene.image)
        objects = []
        for digit, (x1, y1, x2, y2), mask in zip(scene.classes, scene.boxes.tolist(), scene.instances):
            runs = mask_utils.encode(np.asfortranarray(mask, np.uint8))
            runs['counts'] = runs['counts'].decode()  # JSON has no bytes
            box, kind = [x1, y1, x2 - x1, y2 - y1], int(digit) + 1
            area = int(mask.sum())
            objects.append(dict(category_id=kind, bbox=box, area=area, segmentation=runs, iscrowd=0))
        height, width = scene.label.shape
        return dict(image=dict(id=index + 1, file_name=name, height=height, width=width), objects=objects)

    def finish(self, out: Path, split: str, written: list) -> None:
        objects = [(scene['image']['id'], thing) for scene in written for thing in scene['objects']]
        annotations = [dict(id=i, image_id=image, **thing) for i, (image, thing) in enumerate(objects, 1)]
        content = dict(
            info=dict(description='Sign scenes in the form of COCO', version='1.0', year=2017),
            licenses=[],
            images=[scene['image'] for scene in written],
            annotations=annotations,
            categories=[dict(id=i + 1, name=name, supercategory='sign') for i, name in enumerate(CLASSES)],
        )
        (out / 'annotations' / f'instances_{split}2017.json').write_text(json.dumps(content))
