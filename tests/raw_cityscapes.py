"""Small annotations in the form of the official ones of Cityscapes."""

import json

import numpy as np
from PIL import Image

SIZE = 12, 20  # height, width
BORDERS = [('out of roi', [[0, 0], [19, 0], [19, 11], [0, 11]])]  # all that the files of the test split hold


def rectangle(top, left, bottom, right):
    """Corners of a rectangle whose last row and column are drawn too."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def write_polygons(root, split, city, frame, objects, annotations='gtFine', size=SIZE):
    """The polygons of an image, and the image; an object is (label, polygon) or (label, polygon, deleted)."""
    stem = f'{city}_{frame:06d}_000019'
    things = []
    for number, (label, polygon, *deleted) in enumerate(objects):
        thing = (
            dict(date='25-Jun-2015 13:37:00', deleted=int(deleted[0]), id=number, user='a', verified=1)
            if deleted
            else {}
        )
        things.append(dict(thing, label=label, polygon=polygon))
    path = root / annotations / split / city / f'{stem}_{annotations}_polygons.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(imgHeight=size[0], imgWidth=size[1], objects=things), indent=4))
    write_image(root, split, city, stem, size)
    return path


def write_ids(root, split, city, frame, ids):
    """The label ids of an image, and the image, without polygons."""
    stem = f'{city}_{frame:06d}_000019'
    path = root / 'gtFine' / split / city / f'{stem}_gtFine_labelIds.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8)).save(path)
    write_image(root, split, city, stem, ids.shape)
    return path


def write_image(root, split, city, stem, size):
    path = root / 'leftImg8bit' / split / city / f'{stem}_leftImg8bit.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)
