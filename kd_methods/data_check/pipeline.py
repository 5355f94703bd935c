"""What a data set's pipeline reads of a sample, as far as its transforms are known."""

import copy
import inspect
from typing import Any, NamedTuple

from mmengine.registry import TRANSFORMS, DefaultScope

from kd_methods.datasets.entries import Entry, kind_of, owners, resolve

# No transform of these packages gives labels other values.
_KNOWN = ('mmcv', 'mmseg', 'mmdet', 'mmengine', 'kd_methods')


class PipelineInfo(NamedTuple):
    """What is read, and how."""

    image: bool  # images are read as image files
    label: bool  # labels are read as mmseg's LoadAnnotations reads them, and keep their values
    x: bool
    skips: bool  # images that cannot be read are passed over
    resizes: bool  # a transform behind the labels brings image and label to a size
    masks: bool  # the masks of objects are read
    zero: bool | None  # reduce_zero_label of the transform; None where it leaves that to the data set
    unknown: tuple[str, ...]  # transforms for which images or labels are not looked at


def pipeline_info(entry: Entry, scope: str | None) -> PipelineInfo:
    """What the transforms of a data set read."""
    steps, kinds = entry.steps, [kind_of(step) for step in entry.steps]
    names = [(owners(resolve(step.get('type'), TRANSFORMS, scope)) or [''])[0] for step in steps]
    images = [i for i, name in enumerate(names) if name == 'mmcv.LoadImageFromFile']
    labels = [i for i, name in enumerate(names) if name == 'mmseg.LoadAnnotations']
    foreign = [i for i, name in enumerate(names) if name.split('.')[0] not in _KNOWN]
    # A foreign transform before the loading may change the path; one behind it may change the labels.
    image = bool(images) and min(foreign, default=images[0]) >= images[0]
    image = image and all(steps[i].get('imdecode_backend') != 'tifffile' for i in images)
    annotations = [i for i, kind in enumerate(kinds) if 'Annotation' in kind]
    own_backends = {steps[i].get('imdecode_backend', 'pillow') for i in labels}
    label = image and not foreign and bool(labels) and labels == annotations and own_backends == {'pillow'}
    loads = [i for i, kind in enumerate(kinds) if kind.startswith('Load') and i not in annotations]
    blamed = [*([] if image else loads), *([] if label or not annotations else foreign or annotations)]
    return PipelineInfo(
        image=image,
        label=label,
        x='kd_methods.LoadXFromFile' in names,
        skips=any(steps[i].get('ignore_empty') for i in images),
        resizes=bool(labels) and any('Resize' in kind for kind in kinds[labels[0] :]),
        masks=any(step.get('with_mask') for step in steps),
        zero=steps[labels[0]].get('reduce_zero_label') if labels else None,
        unknown=tuple(dict.fromkeys(kinds[i] for i in blamed)),
    )


def build_without_pipeline(entry: Entry, scope: str | None, lazy_init: bool = False) -> Any:
    """The data set of an entry without its pipeline, listed at once unless lazy; any error is that of its
    class.
    """
    cfg = {k: v for k, v in entry.cfg.items() if k not in ('type', 'lazy_init', '_scope_')}
    parameters = inspect.signature(entry.cls).parameters.values()
    if any(p.name == 'serialize_data' or p.kind is p.VAR_KEYWORD for p in parameters):
        cfg['serialize_data'] = False  # which fails where there is no image at all
    if lazy_init:
        cfg['lazy_init'] = True
    with DefaultScope.overwrite_default_scope(scope):
        return entry.cls(**{**copy.deepcopy(cfg), 'pipeline': []})
