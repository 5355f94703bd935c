"""What networks predict for an image, and its truth, as arrays and boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData

from kd_methods.visualize.maps import Panel
from kd_methods.visualize.recording import Column

_HEX = 'e6194b 3cb44b ffe119 0082c8 f58230 911eb4 46f0f0 f032e6 d2f53c fabed4'
#: Colours of classes for which a data set names none; after the last one they start again.
PALETTE = [tuple(bytes.fromhex(colour)) for colour in _HEX.split()]
IGNORED = 255


@dataclass
class Classes:
    """Names and colours of a data set's classes."""

    meta: Mapping  # of the data set: its `classes` and `palette` are used

    def name(self, label: int) -> str:
        """Name of a class; its number where the data set names none."""
        names = self.meta.get('classes') or ()
        return str(names[label]) if label < len(names) else str(label)

    def colour(self, label: int) -> tuple[int, int, int]:
        """Red, green and blue of a class, 0 to 255."""
        palette = self.meta.get('palette')
        # mmdet has words such as 'random' there
        if not isinstance(palette, (list, tuple)) or label >= len(palette):
            return PALETTE[label % len(PALETTE)]
        return tuple(int(v) for v in palette[label])

    def ink(self, label: int) -> str:
        """Black or white, for text on a class's colour."""
        red, green, blue = self.colour(label)
        return 'black' if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else 'white'

    def paint(self, labels: np.ndarray) -> np.ndarray:
        """Colours of a label map, h x w x 3; ignored pixels are white."""
        table = np.full((256, 3), 255, np.uint8)
        for label in present(labels):
            table[label] = self.colour(label)
        return table[labels.clip(0, 255).astype(np.uint8)]


@dataclass
class Box:
    """An object on an image."""

    label: int
    corners: tuple[float, ...] | None  # x1, y1, x2, y2 in pixels of the image; None: there is only a mask
    score: float | None = None  # None: truth
    mask: np.ndarray | None = None  # bool, over the whole image
    ignored: bool = False  # truth that neither a loss nor a metric counts, such as a crowd


@torch.no_grad()
def predict(column: Column, batch: dict) -> BaseDataElement:
    """A network's prediction for one raw image, in the size of the file."""
    return column.network.eval()(**column.prepare(batch), mode='predict')[0]


def predicted_panel(
    sample: BaseDataElement,
    picture: np.ndarray,
    classes: Classes,
    truth: np.ndarray | None = None,
    score: float = 0.5,
) -> Panel:
    """A prediction as it is drawn: a painted label map, or the image with objects of at least ``score``.

    With a label map ``truth`` the heading gives the share of pixels that are right.
    """
    size = picture.shape[:2]
    if 'pred_sem_seg' in sample:
        labels = sample.pred_sem_seg.data[0].cpu().numpy().astype(np.int64)
        title = ''
        if truth is not None and truth.shape == labels.shape and (truth != IGNORED).any():
            title = f'{100 * (labels == truth)[truth != IGNORED].mean():.1f} % of pixels right'
        return Panel(classes.paint(labels), size, title, labels=present(labels))
    if 'pred_instances' in sample:
        boxes = [box for box in _boxes(sample.pred_instances) if box.score is None or box.score >= score]
        return Panel(picture, size, f'objects with score ≥ {score:g}: {len(boxes)}', boxes)
    why = f'only label maps, boxes and masks are drawn, and this network predicts {sample.keys()}'
    raise ValueError(f'--what prediction: {why}. Leave it out: --what boundary relation feature.')


def true_labels(sample: BaseDataElement) -> np.ndarray | None:
    """The label map of a raw data sample; None where there is none."""
    if 'gt_sem_seg' not in sample:
        return None
    data = sample.gt_sem_seg.data
    return data.reshape(data.shape[-2:]).cpu().numpy().astype(np.int64)


def true_boxes(
    sample: BaseDataElement, factor: Sequence[float] = (1.0, 1.0), ignored: bool = False
) -> list[Box] | None:
    """The objects of a packed data sample, or those that do not count; None where none are labelled.

    ``factor``: width and height of the image of the boxes, as multiples of the image that is drawn.
    """
    instances = sample.get('ignored_instances' if ignored else 'gt_instances')
    return None if instances is None or 'labels' not in instances else _boxes(instances, factor, ignored)


def true_panel(
    sample: BaseDataElement, picture: np.ndarray, classes: Classes, scaled: bool = False
) -> Panel | None:
    """The truth of a packed data sample, or None; ``scaled``: its boxes were resized with the image."""
    labels = true_labels(sample)
    if labels is not None:
        return Panel(classes.paint(labels), picture.shape[:2], labels=present(labels))
    boxes = true_boxes(sample, sample.metainfo.get('scale_factor', (1.0, 1.0)) if scaled else (1.0, 1.0))
    return None if boxes is None else Panel(picture, picture.shape[:2], '', boxes)


def present(labels: np.ndarray) -> list[int]:
    """The classes of a label map, without ignored pixels."""
    return [int(label) for label in np.unique(labels) if 0 <= label < IGNORED]


def _boxes(instances: InstanceData, factor: Sequence[float] = (1.0, 1.0), ignored: bool = False) -> list[Box]:
    corners = instances.get('bboxes')
    corners = getattr(corners, 'tensor', corners)
    if corners is not None:
        corners = corners.cpu().float() / torch.tensor([*factor[:2], *factor[:2]]).float()
        # SOLO and similar detectors of masks fill in zeros
        corners = None if 'masks' in instances and not corners.any() else corners.tolist()
    masks = instances.get('masks')
    if masks is not None:
        masks = masks.cpu().numpy() if isinstance(masks, torch.Tensor) else masks.to_ndarray()
    scores = instances.get('scores')
    boxes = [Box(int(label), None, ignored=ignored) for label in instances.labels]
    for i, box in enumerate(boxes):
        box.corners = None if corners is None else tuple(corners[i])
        box.score = None if scores is None else float(scores[i])
        box.mask = None if masks is None else masks[i].astype(bool)
    return boxes
