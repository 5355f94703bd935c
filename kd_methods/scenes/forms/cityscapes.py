"""The form of Cityscapes: four label images and polygons for each image, and disparity."""

import json
from pathlib import Path

import cv2
import numpy as np

from kd_methods.datasets.cityscapes_labels import BY_NAME, BY_TRAIN_ID
from kd_methods.scenes.forms.base import SceneForm, unlabelled_rows, unmeasured
from kd_methods.scenes.maker import Scene
from kd_methods.utils.files import save_png, write_file

CITIES = dict(train=('aachen', 'bochum'), val=('frankfurt', 'lindau'))
CLASSES = [BY_TRAIN_ID[label] for label in range(11)]  # of the scene labels, which are the train ids
EGO = BY_NAME['ego vehicle']
PAINTED = (*CLASSES, EGO)
# Disparity at one metre, as a share of the width: two cameras that see 90 degrees, 0.2 m apart. At 1024
# pixels the nearest object, a bar, still fits into 16 bits.
DISPARITY = 0.1


class CityscapesForm(SceneForm):
    """``{leftImg8bit,gtFine}/{train,val}/CITY/CITY_000000_000000_*``, and with depth ``disparity``.

    The scene labels are the train ids 0 (road) to 10 (sky), without instances: instance ids are label ids.
    The lowest rows are the ego vehicle's, which is ignored. The polygons give the label images exactly.
    """

    has_depth = True

    def bases(self) -> list[str]:
        return ['cityscapes_512x512', *(['cityscapes_disparity_512x512'] if self.depth else [])]

    def folders(self) -> list[str]:
        kinds = ('leftImg8bit', 'gtFine', *(['disparity'] if self.depth else []))
        cities = [f'{split}/{city}' for split, names in CITIES.items() for city in names]
        return [f'{kind}/{city}' for kind in kinds for city in cities]

    def write(self, out: Path, split: str, index: int, scene: Scene) -> None:
        city = CITIES[split][index % 2]
        stem = f'{split}/{city}/{city}_000000_{index:06d}'
        save_png(out / f'leftImg8bit/{stem}_leftImg8bit.png', scene.image, level=1)

        train_ids, ids, colours = _paint(scene.label)
        images = dict(labelTrainIds=train_ids, labelIds=ids, instanceIds=ids.astype(np.uint16), color=colours)
        for name, array in images.items():
            save_png(out / f'gtFine/{stem}_gtFine_{name}.png', array, level=1)
        height, width = scene.label.shape
        content = dict(imgHeight=height, imgWidth=width, objects=scene_polygons(scene))
        write_file(json.dumps(content, indent=4), out / f'gtFine/{stem}_gtFine_polygons.json')
        if self.depth:
            # 256 times the disparity, and 1 more: 0 stands for nothing measured.
            disparity = np.round(256 * DISPARITY * width / scene.depth).astype(np.uint16) + np.uint16(1)
            disparity[unmeasured(scene.depth.shape, self.seed, split, index)] = 0
            save_png(out / f'disparity/{stem}_disparity.png', disparity, level=1)


def _paint(label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train ids, ids and RGBA of a scene's label map, with the ego vehicle below."""
    painted = label.copy()
    painted[unlabelled_rows(len(label))] = PAINTED.index(EGO)
    rows = [(kind.train_id, kind.id, (*kind.colour, 255)) for kind in PAINTED]
    return tuple(np.array(table, np.uint8)[painted] for table in zip(*rows))


def scene_polygons(scene: Scene) -> list[dict]:
    """The objects of ``*_polygons.json`` in the order of drawing: the whole image as background; the signs'
    visible parts, from far to near; the background that their outlines enclose; the ego vehicle.
    """
    height, width = scene.label.shape
    objects = [(CLASSES[0], _rectangle(0, height, width))]
    outlined = np.zeros((height, width), np.uint8)
    for mask, digit in zip(scene.instances, scene.classes):
        contours = _contours(mask)
        cv2.drawContours(outlined, contours, -1, 1, cv2.FILLED)
        objects += [(CLASSES[digit + 1], _points(contour)) for contour in contours]
    holes = _contours((outlined > 0) & (scene.label == 0))
    objects += [(CLASSES[0], _points(contour)) for contour in holes]
    objects.append((EGO, _rectangle(unlabelled_rows(height).start, height, width)))
    return [dict(label=kind.name, polygon=polygon) for kind, polygon in objects]


def _contours(mask: np.ndarray) -> tuple:
    return cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]


def _points(contour: np.ndarray) -> list[list[int]]:
    points = contour[:, 0].tolist()
    return points if len(points) > 2 else (points * 3)[:3]  # three corners also for a pixel or a line


def _rectangle(top: int, bottom: int, width: int) -> list[list[int]]:
    return [[0, top], [width - 1, top], [width - 1, bottom - 1], [0, bottom - 1]]
