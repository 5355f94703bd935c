"""What to do about data that is not as its loader reads it: a recipe for each data set known here."""

import os.path as osp
from typing import NamedTuple

from kd_methods.datasets.entries import Entry, owners
from kd_methods.scenes.dataset import is_scenes_folder, scenes_command

PAGE = 'docs/datasets.md'
KINDS = ('_gtFine_', '_gtCoarse_')  # of Cityscapes' annotations


class Recipe(NamedTuple):
    """Where a data set is described, and what makes its labels."""

    section: str  # of PAGE
    # Writes label files as the loader reads them; {root} is the data root, {devkit} the folder above, {kind}
    # an option for other annotations. '' where the download holds them.
    command: str = ''
    ending: str = ''  # end of the names of these label files, behind the last '_'
    sources: tuple[str, ...] = ()  # the same of the files that the command makes them of
    anew: str = ' --overwrite writes them anew'  # what makes the command write files that are there already
    own: str = ''  # a folder of labels that the download holds besides


_CITY, _VOC = 'python tools/data/cityscapes.py {root}{kind}', 'python tools/data/voc_aug.py {devkit} SBD'
_CITY_SOURCES = ('polygons.json', 'labelIds.png')
_ANEW = ' says how to write them anew, into an empty folder'
RECIPES = {
    'mmseg.CityscapesDataset': Recipe('Cityscapes', _CITY, 'labelTrainIds.png', _CITY_SOURCES),
    'mmseg.PascalVOCDataset': Recipe('Pascal VOC 2012 + Aug', _VOC, own='SegmentationClass'),
    'kd_methods.CamVidDataset': Recipe('CamVid', 'python tools/data/camvid.py DOWNLOADS --out {root}'),
    'kd_methods.NYUv2Dataset': Recipe('NYUv2', 'python tools/data/nyuv2.py --help', anew=_ANEW),
    'mmseg.COCOStuffDataset': Recipe('COCO-Stuff 10k', 'python tools/data/coco_stuff10k.py {root}'),
    'mmseg.ADE20KDataset': Recipe('ADE20K'),
    'mmdet.CocoDataset': Recipe('COCO 2017'),
}


def recipe_of(entry: Entry) -> Recipe | None:
    """The recipe of a data set, or of the nearest base class; None where there is none."""
    # Where mmseg and mmdet derive one class from another, it is another data set (NightDrivingDataset).
    stock = ('mmseg', 'mmdet')
    named = (name for name in owners(entry.cls) if name in RECIPES or name.split('.')[0] in stock)
    name = next(named, '')
    if name == 'mmseg.COCOStuffDataset' and not entry.cfg.get('reduce_zero_label'):
        return None  # COCO-Stuff 164k, by the same class
    return RECIPES.get(name)


def hint_missing(entry: Entry, path: str = '') -> str:
    """A sentence on where a missing file or folder, or without a path the whole data set, comes from."""
    if 'kd_methods.SceneDataset' in owners(entry.cls) or is_scenes_folder(entry.root):
        return f'Write the scenes first: {scenes_command(entry.root or "DIR")}'
    recipe = recipe_of(entry)
    if recipe is None:
        return f'{PAGE} says how to prepare each data set'
    # Whether a converter writes this, as opposed to what is downloaded.
    written = bool(recipe.command) and (not recipe.own or 'aug' in osp.basename(path).lower())
    if path and osp.isdir(entry.root) and written and path.endswith(recipe.ending):
        return f'Write it first: {_fill_in(entry, recipe)} ({PAGE}, {recipe.section})'
    return f'{PAGE} ({recipe.section}) says what to download and where it lands'


def command_of(entry: Entry) -> str:
    """The command that writes a data set's labels; '' without one, or where the download holds them."""
    recipe = recipe_of(entry)
    downloaded = recipe is None or recipe.own and recipe.own == osp.basename(_labels(entry))
    return '' if downloaded else _fill_in(entry, recipe)


def hint_rebuild(entry: Entry, path: str) -> str:
    """What to do about a label file that is not as it was written; '' where that is not known here."""
    recipe, command = recipe_of(entry), command_of(entry)
    if recipe is None:
        return ''
    if not command:
        return f'It is part of the download: unpack that again ({PAGE}, {recipe.section})'
    if not path.endswith(recipe.ending):
        kind = next((kind for kind in KINDS if kind in path), KINDS[0])
        return f'Set --cfg-options {entry.key}.seg_map_suffix={kind}{recipe.ending}; {command} writes them'
    return f'{command}{recipe.anew}'


def _fill_in(entry: Entry, recipe: Recipe) -> str:
    root = entry.root.rstrip('/') or 'DIR'
    kind = ' --gt-dir gtCoarse' if 'gtCoarse' in _labels(entry) else ''
    return recipe.command.format(root=root, devkit=osp.dirname(root) or '.', kind=kind)


def _labels(entry: Entry) -> str:
    """The folder of the labels, as the config has it."""
    return str(entry.prefix.get('seg_map_path') or '').rstrip('/')
