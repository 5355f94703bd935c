"""Does every transform of a pipeline that moves the image move X with it?"""

from collections.abc import Iterator, Sequence
from typing import Any

import mmcv.transforms as mmcv_transforms
import mmseg.datasets.transforms as mmseg_transforms

from kd_methods.rgbx.loading import LoadXFromFile, PadRGBX

#: mmcv's transforms, and what other packages derive from them, move only the image and the label map.
_IMAGE_ALONE = tuple(getattr(mmcv_transforms, n) for n in ('RandomFlip', 'Resize', 'Pad', 'CenterCrop'))
_WITH_X = (mmseg_transforms.RandomFlip, mmseg_transforms.Resize, PadRGBX)
#: Transforms that leave X behind, or change its values; and what to take in their place.
_INSTEAD = {
    **dict(RandomFlip='mmseg.RandomFlip', Resize='mmseg.Resize', Pad='PadRGBX', CenterCrop='RandomCrop'),
    'RandomRotFlip': 'RandomRotate and RandomFlip',
    **dict.fromkeys(('RandomMosaic', 'Albu', 'RandomDepthMix', 'SegRescale')),
}


def check_pipeline(steps: Sequence[Any], key: str) -> bool:
    """Raise unless X stays with the image through all built transforms; return whether X is loaded at all."""
    flat = list(_flatten(steps))  # in the order in which they run
    places = [i for i, step in enumerate(flat) if isinstance(step, LoadXFromFile)]
    if not places:
        return False
    if len(places) > 1:
        cure = 'X is one map of one or more channels: join several into one file'
        raise ValueError(f'{key}: LoadXFromFile stands {len(places)} times. {cure}')
    before = [type(step).__name__ for step in flat[: places[0]] if not type(step).__name__.startswith('Load')]
    if before:
        why = f'LoadXFromFile stands behind {before}, which may have changed the image already'
        raise ValueError(f'{key}: {why}. Put it right after LoadImageFromFile')
    for step in flat[places[0] + 1 :]:
        name = type(step).__name__
        if not isinstance(step, _WITH_X) and (isinstance(step, _IMAGE_ALONE) or name in _INSTEAD):
            package = type(step).__module__.split('.')[0]
            cure = f'Use {_INSTEAD[name]}' if _INSTEAD.get(name) else 'Leave it out'
            raise ValueError(f'{key}: {package}.{name} does not move X as it moves the image. {cure}')
    if flat[places[0]].normals:
        names = [type(step).__name__ for step in flat]
        if names.count('RandomFlip') > 1 or 'RandomRotate' in names:
            why = 'with normals=True the vectors turn with one RandomFlip, not with rotations or a second one'
            raise ValueError(f'{key}: {why}. Got: {names}')
    return True


def _flatten(steps: Any) -> Iterator[Any]:
    """All transforms, in order, with those inside of containers."""
    for step in steps if isinstance(steps, (list, tuple)) else [steps]:
        yield step
        for name in ('transforms', 'subroutines', 'resize'):
            inner = getattr(step, name, None)
            if isinstance(inner, (list, tuple, mmcv_transforms.BaseTransform)):
                yield from _flatten(inner)
