"""What to do about data that is not as its loader reads it: a line for each data set that this project
converts or ships.
"""

import os.path as osp
from typing import NamedTuple

from kd_methods.datasets.entries import Leaf, owners
from kd_methods.scenes.dataset import is_scenes_folder, scenes_command

PAGE = 'docs/datasets.md'
KINDS = ('_gtFine_', '_gtCoarse_')  # of Cityscapes' annotations


class Cure(NamedTuple):
    """Where a data set is described, and what makes its labels.

    Attributes:
        section (str): Of :data:`PAGE`.
        command (str): Writes label files as the loader reads them; ``{root}`` is the data root, ``{devkit}``
            the folder above, ``{kind}`` an option for other annotations than the usual ones. '' where the
            download holds them.
        ending (str): Behind the last ``_``, how the names of these label files end. Defaults to '', as those
            of the download.
        sources (tuple[str]): In the same way, the files of the download that the command makes them of.
            Defaults to ().
        anew (str): What makes the command write files that are there already. Defaults to its option.
        own (str): A folder of labels that the download holds, beside that of the command. Defaults to ''.
    """

    section: str
    command: str = ''
    ending: str = ''
    sources: tuple[str, ...] = ()
    anew: str = ' --overwrite writes them anew'
    own: str = ''


CURES = {
    'mmseg.CityscapesDataset': Cure(
        'Cityscapes',
        'python tools/data/cityscapes.py {root}{kind}',
        'labelTrainIds.png',
        ('polygons.json', 'labelIds.png'),
    ),
    'mmseg.PascalVOCDataset': Cure(
        'Pascal VOC 2012 + Aug', 'python tools/data/voc_aug.py {devkit} SBD', own='SegmentationClass'
    ),
    'kd_methods.CamVidDataset': Cure('CamVid', 'python tools/data/camvid.py DOWNLOADS --out {root}'),
    'kd_methods.NYUv2Dataset': Cure(
        'NYUv2',
        'python tools/data/nyuv2.py --help',
        anew=' says how to write them anew, into an empty folder',
    ),
    'mmseg.COCOStuffDataset': Cure('COCO-Stuff 10k', 'python tools/data/coco_stuff10k.py {root}'),
    'mmseg.ADE20KDataset': Cure('ADE20K'),
    'mmdet.CocoDataset': Cure('COCO 2017'),
}


def cure_of(leaf: Leaf) -> Cure | None:
    """The line of a data set, or of the nearest one of mmseg and mmdet that it derives from; None where there
    is none.

    Where these two packages derive one from another, it is another data set: NightDrivingDataset is not
        Cityscapes.
    """
    name = next(
        (name for name in owners(leaf.cls) if name in CURES or name.split('.')[0] in ('mmseg', 'mmdet')), ''
    )
    if name == 'mmseg.COCOStuffDataset' and not leaf.cfg.get('reduce_zero_label'):
        return None  # COCO-Stuff 164k, by the same class
    return CURES.get(name)


def _is_scenes(leaf: Leaf) -> bool:
    """Whether a data set's files are made by tools/data/make_scenes.py."""
    return 'kd_methods.SceneDataset' in owners(leaf.cls) or is_scenes_folder(leaf.root)


def how_to_get(leaf: Leaf, path: str = '') -> str:
    """A sentence on where a missing file or folder comes from.

    Args:
        leaf (Leaf): The data set.
        path (str): What is missing. Defaults to '', the whole data set.
    """
    if _is_scenes(leaf):
        return f'Write the scenes first: {scenes_command(leaf.root or "DIR")}'
    cure = cure_of(leaf)
    if cure is None:
        return f'{PAGE} says how to prepare each data set'
    if path and osp.isdir(leaf.root) and _is_written(cure, path):
        return f'Write it first: {_command(leaf, cure)} ({PAGE}, {cure.section})'
    return f'{PAGE} ({cure.section}) says what to download and where it lands'


def command_of(leaf: Leaf) -> str:
    """The command that writes a data set's labels; '' where there is none, or where it reads those of the
    download.
    """
    cure = cure_of(leaf)
    return (
        '' if cure is None or cure.own and cure.own == osp.basename(_labels(leaf)) else _command(leaf, cure)
    )


def how_to_remake(leaf: Leaf, path: str) -> str:
    """What to do about a label file that is not as it was written; '' where that is not known here.

    Args:
        leaf (Leaf): The data set.
        path (str): The file.
    """
    cure, command = cure_of(leaf), command_of(leaf)
    if cure is None:
        return ''
    if not command:
        return f'It is part of the download: unpack that again ({PAGE}, {cure.section})'
    if not path.endswith(cure.ending):
        kind = next((kind for kind in KINDS if kind in path), KINDS[0])
        return f'Set --cfg-options {leaf.key}.seg_map_suffix={kind}{cure.ending}; {command} writes them'
    return f'{command}{cure.anew}'


def _command(leaf: Leaf, cure: Cure) -> str:
    root = leaf.root.rstrip('/') or 'DIR'
    kind = ' --gt-dir gtCoarse' if 'gtCoarse' in _labels(leaf) else ''
    return cure.command.format(root=root, devkit=osp.dirname(root) or '.', kind=kind)


def _labels(leaf: Leaf) -> str:
    """The folder of the labels, as the config has it."""
    prefix = leaf.cfg.get('data_prefix')
    return str(prefix.get('seg_map_path') or '').rstrip('/') if isinstance(prefix, dict) else ''


def _is_written(cure: Cure, path: str) -> bool:
    """Whether a converter writes this, as opposed to what is downloaded."""
    if cure.ending:
        return path.endswith(cure.ending)
    return bool(cure.command) and (not cure.own or 'aug' in osp.basename(path).lower())
