"""What a data set's pipeline reads of a sample, as far as its transforms are known."""

import copy
import inspect
from typing import Any, NamedTuple

from mmengine.registry import TRANSFORMS, DefaultScope

from kd_methods.datasets.entries import Entry, kind_of, owners, resolve

# No transform of these packages gives labels other values.
_KNOWN = ('mmcv', 'mmseg', 'mmdet', 'mmengine', 'kd_methods')


class PipelineInfo(NamedTuple):
    """What is read, and how.

    Attributes:
        image (bool): Images are read as image files.
        label (bool): Labels are read as mmseg's ``LoadAnnotations`` reads them, and keep their values.
        x (bool): X is read.
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
    skips: bool = False
    resizes: bool = False
    masks: bool = False
    zero: bool | None = None
    unknown: tuple[str, ...] = ()


def pipeline_info(entry: Entry, scope: str | None) -> PipelineInfo:
    """What the transforms of a data set read."""
    steps, kinds = entry.steps, [kind_of(step) for step in entry.steps]
    names = [(owners(resolve(step.get('type'), TRANSFORMS, scope)) or [''])[0] for step in steps]
    images = [i for i, name in enumerate(names) if name == 'mmcv.LoadImageFromFile']
    labels = [i for i, name in enumerate(names) if name == 'mmseg.LoadAnnotations']
    foreign = [i for i, name in enumerate(names) if name.split('.')[0] not in _KNOWN]
    annotations = [kind for kind in kinds if 'Annotation' in kind]
    # A foreign transform before the loading may change the path; one behind it may change the labels.
    image = bool(images) and not (foreign and foreign[0] < images[0])
    image = image and all(steps[i].get('imdecode_backend') != 'tifffile' for i in images)
    label = image and not foreign and 0 < len(labels) == len(annotations)
    label = label and all(steps[i].get('imdecode_backend', 'pillow') == 'pillow' for i in labels)
    blamed = [k for k in kinds if k.startswith('Load') and k not in annotations] if not image else []
    if annotations and not label:
        blamed += [kinds[i] for i in foreign] or annotations
    return PipelineInfo(
        image=image,
        label=label,
        x='kd_methods.LoadXFromFile' in names,
        skips=any(steps[i].get('ignore_empty') for i in images),
        resizes=any('Resize' in kind for kind in kinds[labels[0] :]) if labels else False,
        masks=any(step.get('with_mask') for step in steps),
        zero=steps[labels[0]].get('reduce_zero_label') if labels else None,
        unknown=tuple(dict.fromkeys(blamed)),
    )


def build_without_pipeline(entry: Entry, scope: str | None) -> Any:
    """The data set of an entry without its pipeline, listed at once; any error is that of its class."""
    cfg = copy.deepcopy(dict(entry.cfg))
    scope = cfg.pop('_scope_', None) or scope
    for name in ('type', 'lazy_init'):
        cfg.pop(name, None)
    parameters = inspect.signature(entry.cls).parameters.values()
    if any(p.name == 'serialize_data' or p.kind is p.VAR_KEYWORD for p in parameters):
        cfg['serialize_data'] = False  # which fails where there is no image at all
    with DefaultScope.overwrite_default_scope(scope):
        return entry.cls(**{**cfg, 'pipeline': []})
