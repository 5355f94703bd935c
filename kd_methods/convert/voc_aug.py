"""Add the annotations of SBD to Pascal VOC 2012, as ``PascalVOCDataset`` of mmseg and its configs read them.

mmseg's ``voc_aug.py`` takes the whole data sets only, lists images for which SBD has no labels, orders the
lists by chance, and converts all files anew in each run.
"""

from functools import partial
from pathlib import Path

import numpy as np

from kd_methods.convert import base
from kd_methods.convert.inside import check_inside, check_names
from kd_methods.datasets.palettes import voc_palette
from kd_methods.utils.files import exclusive_folder, save_png, write_file
from kd_methods.utils.parallel import run_parallel

FULL = dict(aug=9118, trainaug=10582)  # images in the lists of the whole data

_KNOWN = [*range(21), 255]
_SAME = np.full(256, -1, np.int16)
_SAME[_KNOWN] = _KNOWN


def read_sbd(path: Path) -> np.ndarray:
    """The label map of a file in ``dataset/cls`` of SBD."""
    content = base.read_mat(path, 'GTcls')
    if 'Segmentation' not in (content.dtype.names or ()) or content.size != 1:
        text = f'{path}: GTcls holds {content.dtype.names or content.dtype}, expected Segmentation'
        raise ValueError(f'{text}. The files of dataset/cls are needed, not those of dataset/inst')
    return np.asarray(content['Segmentation'].item())


def _convert(source: Path, target: Path) -> None:
    labels = read_sbd(source) if source.suffix == '.mat' else base.read_label_image(source)
    save_png(target, base.translate(labels, _SAME, source, 'labels from 0 to 20, and 255'), voc_palette())


def _check_pair(voc: Path, name: str) -> str | None:
    """What is wrong with the image of a label map; read to its end in every run, in some 1.3 ms an image."""
    try:
        size = base.image_size(voc / f'SegmentationClassAug/{name}.png')
        base.check_image(voc / f'JPEGImages/{name}.jpg', size)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return None


def convert_voc_aug(
    devkit: str | Path, sbd: str | Path, workers: int | None = None, overwrite: bool = False
) -> base.Outcome:
    """Write ``VOC2012/SegmentationClassAug/*.png`` and the lists ``aug.txt`` and ``trainaug.txt``.

    ``trainaug`` names the images of VOC's train and of SBD without those of VOC's val, ``aug`` those among
    them that are not in VOC's train; only what has its label map and its image is listed. All of SBD is
    converted; images of ``trainaug`` that are not in SBD get VOC's own labels.

    Args:
        devkit (str | Path): VOCdevkit, which holds VOC2012.
        sbd (str | Path): benchmark_RELEASE of SBD, which holds dataset.
        workers (int | None): Processes. Defaults to None, the number of cores.
        overwrite (bool): Convert all files anew. Defaults to False.

    Raises:
        FileNotFoundError, ValueError: One of the folders is another one, or a list of a split names nothing.
    """
    lists, own = 'VOC2012/ImageSets/Segmentation', ('VOC2012/JPEGImages', 'VOC2012/SegmentationClass')
    devkit = base.check_folder('VOCDEVKIT', devkit, [f'{lists}/train.txt', f'{lists}/val.txt', *own])
    sbd = base.check_folder('SBD', sbd, ['dataset/cls', 'dataset/train.txt', 'dataset/val.txt'])
    dataset = sbd / 'dataset'
    voc = devkit / 'VOC2012'
    train, val = (_read_list(devkit / lists / f'{split}.txt') for split in ('train', 'val'))
    extra = {name for split in ('train', 'val') for name in _read_list(dataset / f'{split}.txt')}
    listed = sorted((train | extra) - val)

    sources = {name: voc / f'SegmentationClass/{name}.png' for name in train}
    sources.update((name, dataset / f'cls/{name}.mat') for name in extra)
    pairs = [(source, voc / f'SegmentationClassAug/{name}.png') for name, source in sorted(sources.items())]
    images = [voc / f'JPEGImages/{name}.jpg' for name in listed]
    written = [target for _, target in pairs] + [devkit / lists / f'{split}.txt' for split in FULL]
    check_inside('VOCDEVKIT', devkit, [*images, *written, *(sources[name] for name in train - extra)])
    check_inside('SBD', dataset, (sources[name] for name in extra))
    with exclusive_folder(voc):
        outcome = base.convert_files(_convert, pairs, 'SBD to PNG', workers, overwrite)

        there = [name for name in listed if sources[name] not in outcome.failed]
        problems = run_parallel(partial(_check_pair, voc), there, workers, 'check of images')
        wrong = {name: problem for problem, name in zip(problems, there) if problem}
        outcome.failed.update((voc / f'JPEGImages/{name}.jpg', problem) for name, problem in wrong.items())
        found = dict(trainaug=[name for name in there if name not in wrong])
        found['aug'] = [name for name in found['trainaug'] if name not in train]
        for split, names in found.items():
            outcome.notes.append(_write_list(devkit / lists / f'{split}.txt', names, FULL[split]))
    left_out = len(listed) - len(found['trainaug'])
    if left_out:
        note = f'{left_out} of {len(listed)} images are left out of the lists'
        outcome.notes.append(f'{note}, as their labels or images are missing or wrong:')
    return outcome


def _read_list(path: Path) -> set[str]:
    names = set(base.read_names(path))
    check_names(path, names)
    return names


def _write_list(path: Path, names: list[str], full: int) -> str:
    text = ''.join(f'{name}\n' for name in names)
    if not path.is_file() or path.read_bytes() != text.encode():  # an older one may be in another encoding
        write_file(text, path)
    return f'{path}: {len(names)} images' + ('' if len(names) == full else f' (the full data has {full})')
