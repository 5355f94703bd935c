"""Sentences about what is wrong in single files, one for each kind."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from kd_methods.data_check.findings import STOPS, WRONG, some
from kd_methods.data_check.recipes import how_to_remake
from kd_methods.data_check.splits import Split

_CHANNEL = 'Expected: one channel of 8 bits, the number of a class in each pixel'
_TOGETHER = 'See that the two belong together'


class Kind(NamedTuple):
    """A kind of problem: of which files, what is said of them, how bad it is, and the cure."""

    files: str
    what: str
    level: str
    cure: str


_KINDS = {
    'image': Kind(
        'image files',
        'cannot be read',
        STOPS,
        'Copy them again from their source, or take them out of the data set',
    ),
    'label': Kind('label files', 'cannot be read', STOPS, 'Copy or convert them again'),
    'x': Kind('files of X', 'cannot be read', STOPS, 'Copy or convert them again'),
    'label colour': Kind('label files', 'with colours instead of classes', STOPS, _CHANNEL),
    'label size': Kind(
        'label files',
        'with another size (height x width) than the image',
        STOPS,
        f'{_TOGETHER}; where one was resized, resize the other alike, labels by nearest neighbour',
    ),
    'label larger': Kind(
        'label files',
        'larger (height x width) than the image, so that they do not lie on it',
        WRONG,
        f'{_TOGETHER}; where one was resized, resize the other alike, labels by nearest neighbour',
    ),
    'label wide': Kind(
        'label files',
        'with values that 8 bits do not hold, so that the loader changes them',
        WRONG,
        f'{_CHANNEL}; files that number instances are no labels',
    ),
    'label jpeg': Kind(
        'label files', 'in JPEG, which changes values', WRONG, 'Write PNG from what they were made of'
    ),
    'x size': Kind('files of X', 'with another size (height x width) than the image', STOPS, _TOGETHER),
    'json size': Kind(
        'images',
        'with another size (height x width) than the annotations say',
        WRONG,
        'Boxes and masks are in pixels of that size: take the images that were annotated, or scale the '
        'annotations',
    ),
}


def say_of_files(
    split: Split, problems: Iterable[tuple[str, str, str]], softened: Collection[str] = ()
) -> None:
    """Say one sentence for each kind.

    Args:
        split (Split): Of whose files; gets the sentences.
        problems (Iterable): (kind, file, what was found in it).
        softened (Collection[str]): Kinds that this data set's pipeline can live with. Defaults to ().
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name, path, what in problems:
        found.setdefault(name, []).append((path, what))
    for name, files in found.items():
        kind = _KINDS[name]
        made = how_to_remake(split.leaf, files[0][0]) if name in ('label colour', 'label wide') else ''
        split.say(
            WRONG if name in softened else kind.level,
            f'{split.read_share(len(files), kind.files)} {kind.what}: {some(files)}. '
            f'{kind.cure}{made and f". {made}"}.',
        )
