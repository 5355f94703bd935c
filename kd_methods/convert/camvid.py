"""Convert a release of CamVid, of 32 coloured labels or of 11 classes, into the files of ``CamVidDataset``.

mmseg has no converter for CamVid.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from kd_methods.convert import base
from kd_methods.convert.inside import check_inside
from kd_methods.datasets.camvid import CamVidDataset
from kd_methods.utils.files import exclusive_folder, save_png, write_file

IMAGES, LABELS = '701_StillsRaw_full', 'LabeledApproved_full'
SIZE = (480, 360)  # width and height of the release that papers use, half of the original
OFFICIAL = dict(train=367, val=101, test=233)
VOID = 11
UNKNOWN = 0.005  # share of pixels of other colours that may be noise; more are another kind of file

# Red, green and blue of each label, and the class that it becomes.
TABLE = {
    'Animal': ((64, 128, 64), 'pedestrian'),
    'Archway': ((192, 0, 128), 'building'),
    'Bicyclist': ((0, 128, 192), 'bicyclist'),
    'Bridge': ((0, 128, 64), 'building'),
    'Building': ((128, 0, 0), 'building'),
    'Car': ((64, 0, 128), 'car'),
    'CartLuggagePram': ((64, 0, 192), 'pedestrian'),
    'Child': ((192, 128, 64), 'pedestrian'),
    'Column_Pole': ((192, 192, 128), 'pole'),
    'Fence': ((64, 64, 128), 'fence'),
    'LaneMkgsDriv': ((128, 0, 192), 'road'),
    'LaneMkgsNonDriv': ((192, 0, 64), 'road'),
    'Misc_Text': ((128, 128, 64), 'sign symbol'),
    'MotorcycleScooter': ((192, 0, 192), 'bicyclist'),
    'OtherMoving': ((128, 64, 64), 'car'),
    'ParkingBlock': ((64, 192, 128), 'pavement'),
    'Pedestrian': ((64, 64, 0), 'pedestrian'),
    'Road': ((128, 64, 128), 'road'),
    'RoadShoulder': ((128, 128, 192), 'pavement'),
    'Sidewalk': ((0, 0, 192), 'pavement'),
    'SignSymbol': ((192, 128, 128), 'sign symbol'),
    'Sky': ((128, 128, 128), 'sky'),
    'SUVPickupTruck': ((64, 128, 192), 'car'),
    'TrafficCone': ((0, 0, 64), 'pole'),
    'TrafficLight': ((0, 64, 64), 'sign symbol'),
    'Train': ((192, 64, 128), 'car'),
    'Tree': ((128, 128, 0), 'tree'),
    'Truck_Bus': ((192, 128, 192), 'car'),
    'Tunnel': ((64, 0, 64), 'building'),
    'VegetationMisc': ((192, 192, 0), 'tree'),
    'Void': ((0, 0, 0), 'void'),
    'Wall': ((64, 192, 0), 'building'),
}
_CLASSES = (*CamVidDataset.METAINFO['classes'], 'void')
_PALETTE = np.array([*CamVidDataset.METAINFO['palette'], (0, 0, 0)], np.uint8)


def _codes(colours: np.ndarray) -> np.ndarray:
    """A number for each colour."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


_PAIRS = sorted((int(_codes(np.array(colour))), _CLASSES.index(name)) for colour, name in TABLE.values())
_KNOWN, _CLASS = np.array(_PAIRS).T  # codes in rising order, and the class of each


def classes_of(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes of a colour-coded label image (H x W x 3): 0 to 10, 11 where it is void or the colour is no
    label's; and where the colour is a label's.
    """
    codes = _codes(colours)
    places = np.searchsorted(_KNOWN, codes).clip(max=len(_KNOWN) - 1)
    known = _KNOWN[places] == codes
    return np.where(known, _CLASS[places], VOID).astype(np.uint8), known


def split_of(name: str) -> str:
    """The usual split of CamVid's frames, by the name of one; raises where it is of none of the sequences."""
    sequence, _, frame = name.partition('_')
    if sequence == 'Seq05VD' or sequence == '0001TP' and frame >= '008550':
        return 'test'
    if sequence == '0016E5' and '07959' <= frame <= '08159':
        return 'val'
    if sequence in ('0001TP', '0006R0', '0016E5'):
        return 'train'
    text = f'{name}.png belongs to none of the sequences 0001TP, 0006R0, 0016E5 and Seq05VD'
    cure = 'Move it away, or name a split of your own with --splits'
    raise ValueError(f'{text}, of which the usual split is made. {cure}')


def _read_splits(folder: str | Path) -> dict[str, list[str]]:
    """Names of each split, from lists of names or of files as in the lists of the 11-class release."""
    folder = base.check_folder('splits', folder, [f'{split}.txt' for split in OFFICIAL])
    splits, seen = {}, {}
    for split in OFFICIAL:
        names = [Path(line.split()[0]).stem for line in base.read_names(folder / f'{split}.txt')]
        splits[split] = list(dict.fromkeys(names))
        for name in splits[split]:
            if seen.setdefault(name, split) != split:
                raise ValueError(f'splits: {name} is in both {seen[name]}.txt and {split}.txt of {folder}')
    return splits


def _convert_image(source: Path, target: Path, size: tuple[int, int]) -> None:
    save_png(target, cv2.resize(base.read_colours(source), size, interpolation=cv2.INTER_AREA))


def _convert_label(source: Path, target: Path, images: Path, size: tuple[int, int]) -> str | None:
    colours = base.read_colours(source)
    image = images / f'{_name(source)}.png'
    base.check_image(image, colours.shape[:2], decode=False)  # its own conversion does
    labels, known = classes_of(colours)
    others, note = known.size - np.count_nonzero(known), None
    if others:
        text = f"{others} of {known.size} pixels have colours that are no label's"
        note = f'{source}: {text}, such as {tuple(colours[~known][0].tolist())}'
        if others > UNKNOWN * known.size:
            raise ValueError(f'{note}. Expected the colours of label_colors.txt, as {LABELS} has them')
        note += '; they become void'
    save_png(target, cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), _PALETTE)
    return note


def _convert_ids(source: Path, target: Path, image: Callable[[Path], Path], size: tuple[int, int]) -> None:
    labels = base.read_label_image(source)
    base.check_image(image(source), labels.shape, decode=False)
    wrong = sorted(set(np.unique(labels).tolist()) - {*range(VOID + 1), 255})
    if wrong:
        raise ValueError(f'{source}: labels {wrong}, expected 0 to 10, and 11 or 255 for void')
    labels = np.where(labels == 255, VOID, labels).astype(np.uint8)
    save_png(target, cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), _PALETTE)


def _image_of(label: Path) -> Path:
    """The image of a label in the release of 11 classes."""
    return label.parent.with_name(label.parent.name.removesuffix('annot')) / label.name


def _is_release(source: Path) -> bool:
    return all((source / f'{split}annot').is_dir() for split in OFFICIAL) and not (source / LABELS).is_dir()


def _name(label: Path) -> str:
    return label.stem.removesuffix('_L')


def convert_camvid(
    source: str | Path,
    out: str | Path,
    splits: str | Path | None = None,
    size: tuple[int, int] = SIZE,
    workers: int | None = None,
    overwrite: bool = False,
) -> base.Outcome:
    """Write ``{train,val,test}/NAME.png``, ``{train,val,test}annot/NAME.png`` and ``{train,val,test}.txt``.

    Images are made smaller by averaging over areas, labels by nearest neighbour. The lists are written last
    and name the images that are there, each with its label.

    Args:
        source (str | Path): Holds the folders ``701_StillsRaw_full`` and ``LabeledApproved_full``, or those
            of the release of 11 classes, ``train``, ``trainannot``, ``train.txt``, ..., to change its size.
        out (str | Path): Directory of the data set.
        splits (str | Path | None): Folder with train.txt, val.txt and test.txt, a name a line. Defaults to
            None, the usual split.
        size (tuple[int, int]): Width and height. Defaults to (480, 360).
        workers (int | None): Processes. Defaults to None, the number of cores.
        overwrite (bool): Convert all files anew, also those of another size. Defaults to False.

    Raises:
        FileNotFoundError, ValueError: The folders or lists are not what they should be, or ``out`` holds
            images of another size.
    """
    size = tuple(size)
    if min(size) < 1:
        raise ValueError(f'size: got {size[0]} {size[1]}, expected a width and a height of 1 or more')
    out = Path(out)
    if _is_release(Path(source)):
        return _resize_release(Path(source), out, splits, size, workers, overwrite)
    source = base.check_folder('source', source, [IMAGES, LABELS])
    there = {path.stem for path in (source / IMAGES).glob('[!.]*.png')}
    labelled = {_name(path) for path in (source / LABELS).glob('[!.]*_L.png')}
    if not there & labelled:
        text = f'source: {source} has no image {IMAGES}/NAME.png with a label {LABELS}/NAME_L.png'
        raise ValueError(f'{text}. Unpack both archives again; --help says how')
    outcome, images, labels = base.Outcome(), [], []
    names = sorted(there | labelled)
    wanted = _read_splits(splits) if splits is not None else _usual_splits(source, names, outcome)
    for split, name in ((split, name) for split, names in wanted.items() for name in names):
        image, label = source / IMAGES / f'{name}.png', source / LABELS / f'{name}_L.png'
        if name not in there:
            outcome.failed[label] = f'{image}: no such file; {split} wants it. Unpack {IMAGES}.zip again'
        elif name not in labelled:
            outcome.failed[image] = f'{label}: no such file; {split} wants it. Unpack {LABELS}.zip again'
        else:
            images.append((image, out / split / image.name))
            labels.append((label, out / f'{split}annot' / image.name))
    to_label = partial(_convert_label, images=source / IMAGES, size=size)
    pairs = list(zip(images, labels))
    return outcome + _write(source, out, pairs, wanted, to_label, size, workers, overwrite, splits is None)


def _resize_release(
    source: Path,
    out: Path,
    splits: str | Path | None,
    size: tuple[int, int],
    workers: int | None,
    overwrite: bool,
) -> base.Outcome:
    """The release of 11 classes in another size, in its own split."""
    if splits is not None:
        raise ValueError(
            f'splits: {source} is the release of 11 classes, which has its own lists; leave it out'
        )
    if out.resolve() == source.resolve():
        raise ValueError(f'out: {out} is the release itself; name another folder')
    wanted = _read_splits(source)
    files = [(split, f'{name}.png') for split, names in wanted.items() for name in names]
    pairs = [
        tuple((source / folder / name, out / folder / name) for folder in (split, f'{split}annot'))
        for split, name in files
    ]
    to_label = partial(_convert_ids, image=_image_of, size=size)
    return _write(source, out, pairs, wanted, to_label, size, workers, overwrite, usual=True)


def _write(
    source: Path,
    out: Path,
    pairs: Sequence[tuple[tuple[Path, Path], tuple[Path, Path]]],
    wanted: Mapping[str, Sequence[str]],
    to_label: Callable[[Path, Path], str | None],
    size: tuple[int, int],
    workers: int | None,
    overwrite: bool,
    usual: bool,
) -> base.Outcome:
    """Convert images and labels, each a source and a target; write the lists of what is there, and say how
    many that are.
    """
    images, labels = [image for image, _ in pairs], [label for _, label in pairs]
    check_inside('source', source, [path for path, _ in images + labels])
    check_inside('out', out, [path for _, path in images + labels])
    with exclusive_folder(out):
        if not overwrite:
            _check_sizes([target for _, target in images + labels], size)
        to_image = partial(_convert_image, size=size)
        outcome = base.convert_files(to_image, images, 'images', workers, overwrite, channels=3)
        outcome += base.convert_files(to_label, labels, 'labels', workers, overwrite)
        sources = zip((image for image, _ in images), (label for label, _ in labels))
        done = {image.stem for image, label in sources if not {image, label} & outcome.failed.keys()}
        for split, names in wanted.items():
            lines = [f'{split}/{name}.png {split}annot/{name}.png\n' for name in names if name in done]
            write_file(''.join(lines), out / f'{split}.txt')
    counts = {split: len(done.intersection(names)) for split, names in wanted.items()}
    form = '{train} train, {val} val and {test} test images with labels'
    outcome.notes.append(f'{out}: {form.format(**counts)}')
    if usual and counts != OFFICIAL:
        outcome.notes.append('The full data set has {train}, {val} and {test}.'.format(**OFFICIAL))
    return outcome


def _usual_splits(source: Path, names: list[str], outcome: base.Outcome) -> dict[str, list[str]]:
    """Names of each split; those that belong to none are failures."""
    found: dict[str, list[str]] = {split: [] for split in OFFICIAL}
    for name in names:
        try:
            found[split_of(name)].append(name)
        except ValueError as error:
            outcome.failed[source / IMAGES / f'{name}.png'] = str(error)
    return found


def _check_sizes(targets: list[Path], size: tuple[int, int]) -> None:
    """Raise where an earlier conversion left files of another size: they would be kept among new ones."""
    for target in targets:
        try:
            height, width = base.image_size(target)
        except (FileNotFoundError, ValueError):  # none there, or a broken one, which is written anew
            continue
        if (width, height) != size:
            found = f'{target} is {width} x {height} pixels, asked for {size[0]} x {size[1]} (width x height)'
            raise ValueError(f'out: {found}: pass another --out, or --overwrite to convert everything anew')
