"""What a data set's pipeline reads of a sample, as far as its transforms are known."""

from collections.abc import Sequence
from typing import NamedTuple

from mmengine.registry import TRANSFORMS

from kd_methods.datasets.entries import Leaf, kind_of, owners, resolve

# Of these packages it is known that no transform gives labels other values.
_KNOWN = ('mmcv', 'mmseg', 'mmdet', 'mmengine', 'kd_methods')


class Reading(NamedTuple):
    """What is read, and how.

    Attributes:
        image (bool): Images are read as image files.
        label (bool): Labels are read as mmseg's ``LoadAnnotations`` reads them, and keep their values.
        x (bool): X is read.
        turned (bool): Images are turned as their EXIF orientation says.
        skips (bool): Images that cannot be read are passed over.
        resizes (bool): A transform behind the labels brings image and label to a size.
        masks (bool): The masks of objects are read.
        zero (bool | None): ``reduce_zero_label`` of the transform; None where it leaves that to the data set.
        unknown (tuple[str]): Transforms that read images or labels in a way that is not known here, or may
            change labels.
    """

    image: bool = False
    label: bool = False
    x: bool = False
    turned: bool = True
    skips: bool = False
    resizes: bool = False
    masks: bool = False
    zero: bool | None = None
    unknown: tuple[str, ...] = ()


def reading_of(leaf: Leaf, scope: str | None) -> Reading:
    """What the transforms of a data set read."""
    classes = [resolve(step.get('type'), TRANSFORMS, scope) for step in leaf.steps]
    names = [(owners(cls) or [''])[0] for cls in classes]
    images = [step for step, name in zip(leaf.steps, names) if name == 'mmcv.LoadImageFromFile']
    labels = [i for i, name in enumerate(names) if name == 'mmseg.LoadAnnotations']
    foreign = [kind_of(step) for step, name in zip(leaf.steps, names) if name.split('.')[0] not in _KNOWN]
    annotations = [kind_of(step) for step in leaf.steps if 'Annotation' in kind_of(step)]
    first = next((i for i, name in enumerate(names) if name == 'mmcv.LoadImageFromFile'), 0)
    before = [
        kind_of(step) for step, name in zip(leaf.steps[:first], names) if name.split('.')[0] not in _KNOWN
    ]
    known_image = (
        bool(images)
        and not before
        and all(step.get('imdecode_backend', 'cv2') != 'tifffile' for step in images)
    )
    known_label = (
        known_image
        and bool(labels)
        and len(labels) == len(annotations)
        and not foreign
        and all(leaf.steps[i].get('imdecode_backend', 'pillow') == 'pillow' for i in labels)
    )
    return Reading(
        image=known_image,
        label=known_label,
        x='kd_methods.LoadXFromFile' in names,
        turned=not any(
            'ignore_orientation' in step.get('color_type', 'color')
            or step.get('color_type') == 'unchanged'
            or step.get('imdecode_backend') == 'turbojpeg'
            for step in images
        ),
        skips=any(step.get('ignore_empty') for step in images),
        resizes=any('Resize' in kind_of(step) for step in leaf.steps[labels[0] :]) if labels else False,
        masks=any(step.get('with_mask') for step in leaf.steps),
        zero=leaf.steps[labels[0]].get('reduce_zero_label') if labels else None,
        unknown=_unknown(leaf.steps, known_image, known_label, foreign, annotations),
    )


def _unknown(
    steps: Sequence[dict], known_image: bool, known_label: bool, foreign: list[str], annotations: list[str]
) -> tuple[str, ...]:
    """The transforms to blame where images or labels cannot be judged."""
    loads = [kind_of(step) for step in steps if kind_of(step).startswith('Load')]
    blamed = [] if known_image else [name for name in loads if name not in annotations]
    blamed += [] if known_label or not annotations else foreign or annotations
    return tuple(dict.fromkeys(blamed))
