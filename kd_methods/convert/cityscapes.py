"""Convert the annotations of Cityscapes into the label images that ``CityscapesDataset`` of mmseg reads.

mmseg's ``cityscapes.py`` needs the package cityscapesscripts, draws all files anew in each run, and ends at
the first broken one. This one draws the same pixels.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from kd_methods.convert import base
from kd_methods.convert.inside import check_inside, check_names
from kd_methods.datasets.cityscapes_labels import BY_NAME, IGNORED, LABELS
from kd_methods.utils.files import exclusive_folder, save_png

_POLYGONS, _IDS, _TRAIN_IDS = 'polygons.json', 'labelIds.png', 'labelTrainIds.png'

TRAIN_ID_OF_ID = np.full(256, -1, np.int16)
for _label in LABELS:
    if _label.id >= 0:
        TRAIN_ID_OF_ID[_label.id] = _label.train_id


def draw_train_ids(path: Path) -> np.ndarray:
    """The label image of a file of polygons, as the data set's own scripts draw it; H x W uint8, 255 ignored.

    Later objects are drawn over earlier ones. An unknown label 'NAMEgroup' is a group of NAME.
    """
    content = base.read_file(path, 'a JSON file', lambda path: json.loads(path.read_text(encoding='utf-8')))
    try:
        size = int(content['imgWidth']), int(content['imgHeight'])
        kept = [thing for thing in content['objects'] if not thing.get('deleted', 0)]
        objects = [(str(thing['label']), [(x, y) for x, y, *_ in thing['polygon']]) for thing in kept]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        form = 'imgWidth, imgHeight and objects of a label and a polygon each'
        text = f'{path} is no file of polygons as Cityscapes has them, with {form}'
        raise ValueError(f'{text} ({type(error).__name__}: {error})') from error
    if min(size) < 1:
        raise ValueError(f'{path}: imgWidth x imgHeight is {size[0]} x {size[1]}')
    image = Image.new('L', size, IGNORED)
    drawer = ImageDraw.Draw(image)
    for name, polygon in objects:
        label = BY_NAME.get(name) or BY_NAME.get(name.removesuffix('group'))
        if label is None:
            text = f'no label of Cityscapes is called {name!r}. They are {", ".join(BY_NAME)}'
            raise ValueError(f'{path}: {text}')
        if label.id < 0:
            continue
        try:
            drawer.polygon(polygon, fill=label.train_id)
        except (TypeError, ValueError) as error:
            raise ValueError(f'{path}: the polygon {polygon} of {name!r} cannot be drawn: {error}') from error
    return np.asarray(image)


def _convert(source: Path, target: Path) -> None:
    if source.name.endswith(_POLYGONS):
        labels = draw_train_ids(source)
    else:
        ids = base.read_label_image(source)
        labels = base.translate(ids, TRAIN_ID_OF_ID, source, 'label ids from 0 to 33')
    save_png(target, labels)


def convert_cityscapes(
    root: str | Path, annotations: str = 'gtFine', workers: int | None = None, overwrite: bool = False
) -> base.Outcome:
    """Write ``*_labelTrainIds.png`` beside the official annotations of each image.

    They are drawn from ``*_polygons.json``, or translated from ``*_labelIds.png`` for an image without
    polygons; both give the same pixels.

    Args:
        root (str | Path): Folder of the data set, which holds ``annotations``.
        annotations (str): Folder with SPLIT/CITY/ below it. Defaults to 'gtFine'.
        workers (int | None): Processes. Defaults to None, the number of cores.
        overwrite (bool): Convert all files anew. Defaults to False.

    Raises:
        FileNotFoundError: ``root`` is another folder, or holds nothing to convert.
    """
    check_names(Path('--annotations'), [annotations])
    root = base.check_folder('ROOT', root, [annotations])
    folder = root / annotations
    sources = {}
    for kind in (_IDS, _POLYGONS):  # polygons, found last, replace the label ids of the same image
        for path in sorted(folder.glob(f'*/*/[!.]*_{kind}')):
            sources[path.with_name(path.name.removesuffix(kind) + _TRAIN_IDS)] = path
    if not sources:
        example = f'train/aachen/aachen_000000_000019_{annotations}_{_POLYGONS}'
        text = f'ROOT: no SPLIT/CITY/*_{_POLYGONS} (nor *_{_IDS}) below {str(folder)!r}, such as {example}'
        raise FileNotFoundError(f'{text}. --help says where they come from')
    pairs = [(source, target) for target, source in sorted(sources.items())]
    check_inside('ROOT', root, [path for pair in pairs for path in pair])
    with exclusive_folder(root):
        return base.convert_files(_convert, pairs, f'{annotations} to train ids', workers, overwrite)
