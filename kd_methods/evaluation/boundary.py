"""How well a segmentation follows the outlines of its classes: boundary IoU and trimap mIoU."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmengine.registry import METRICS
from torch import Tensor

from kd_methods.utils.options import Count, checked
from kd_methods.utils.report import table


def band_width(size: Sequence[int], dilation_ratio: float = 0.02) -> int:
    """Width of the band in pixels: a share of the diagonal of an image (H, W), rounded, at least 1.

    Example:
        >>> band_width((1024, 2048)), band_width((16, 16))
        (46, 1)
    """
    return max(1, round(dilation_ratio * math.hypot(*size)))


def near_other_label(label: Tensor, known: Tensor, num_labels: int, width: int) -> Tensor:
    """True where a pixel has a known pixel of another label within ``width``, for all labels at once.

    The distance is the chessboard's: a window of ``2 * width + 1`` pixels a side. The frame of the image is
    no label. A window holds another label iff its largest or its smallest label is not that of its centre.

    Shape:
        - label: (H, W), integers in ``[0, num_labels)``.
        - known: (H, W), bool: which pixels have a label. The others get False.
        - output: (H, W), bool.

    Example:
        >>> label = torch.tensor([[0, 0, 0, 1, 1]])
        >>> near_other_label(label, torch.ones_like(label, dtype=torch.bool), 2, 1).tolist()
        [[False, False, True, True, False]]
    """
    dtype = next(t for t in (torch.uint8, torch.int16, torch.int32) if num_labels <= torch.iinfo(t).max)
    code = label.to(dtype)
    near = torch.zeros_like(known)
    # 0, below all labels, stands for unknown pixels; mirrored codes turn the smallest label into the maximum
    for rising in (code + 1, num_labels - code):
        rising = rising.masked_fill(~known, 0)
        near |= _window_max(rising, width) > rising
    return near & known


def boundary_counts(
    pred: Tensor, label: Tensor, num_classes: int, width: int, ignore_index: int = 255
) -> Tensor:
    """Pixels per class that the IoUs of :class:`BoundaryIoUMetric` are made of.

    As in mmseg's IoUMetric, a label that is neither a class nor ``ignore_index`` is a known pixel of no
    class, where every prediction is wrong.

    Shape:
        - pred, label: (H, W), classes.
        - output: (2, 3, K), int64: for boundary IoU and for the trimap, the pixels of intersection,
          prediction and label, of K = ``num_classes``.

    Example:
        >>> label = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
        >>> boundary_counts(label.roll(1), label, 2, width=1)[1].tolist()
        [[1, 0], [2, 0], [1, 1]]
    """
    known = label != ignore_index
    # num_classes stands for all labels of no class
    pred, label = (x.long().masked_fill((x < 0) | (x >= num_classes), num_classes) for x in (pred, label))
    width = min(width, max(label.shape))  # more changes nothing, and the padding would fill the memory
    trimap = near_other_label(label, known, num_classes + 1, width)
    of_pred = near_other_label(pred, known, num_classes + 1, width)
    # the frame of the image, a contour of every mask that touches it
    frame = torch.ones_like(known)
    height, breadth = label.shape
    frame[width : max(width, height - width), width : max(width, breadth - width)] = False
    frame &= known
    hit = pred == label

    # boundary IoU: each mask's own band; trimap: the band of the label for both
    counts = []
    for in_pred, in_label in ((of_pred | frame, trimap | frame), (trimap, trimap)):
        masks = (label, hit & in_pred & in_label), (pred, in_pred), (label, in_label)
        counts.append(torch.stack([_per_class(of, mask, num_classes) for of, mask in masks]))
    return torch.stack(counts)


def _window_max(x: Tensor, width: int) -> Tensor:
    """Maximum over windows of ``2 * width + 1``; beyond the frame lies 0.

    Windows grow by doubling, so that wide ones cost little more than narrow ones.
    """
    size = 2 * width + 1
    for dim in (0, 1):  # the maximum over a square is that over its columns, then over its rows
        x = F.pad(x, (0, 0, width, width) if dim == 0 else (width, width))
        length = 1
        while length < size:
            step = min(length, size - length)  # x[i] is the maximum over `length` values from i on
            rest = x.shape[dim] - step
            x = torch.maximum(x.narrow(dim, 0, rest), x.narrow(dim, step, rest))
            length += step
    return x


def _per_class(label: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    """Number of pixels of each class in a mask: H x W, H x W -> K."""
    return label.masked_fill(~mask, num_classes).flatten().bincount(minlength=num_classes + 1)[:num_classes]


@METRICS.register_module()
class BoundaryIoUMetric(BaseMetric):
    r"""Boundary IoU and trimap mIoU of semantic segmentation, in addition to mmseg's IoUMetric.

    mIoU hardly sees an outline that is off by some pixels, since most pixels of a class lie inside. These
    figures look at a band of ``d`` pixels along the outlines.

    `Boundary IoU: Improving Object-Centric Image Segmentation Evaluation <https://arxiv.org/abs/2103.16562>`_
    (Cheng, Girshick, Dollár, Berg, Kirillov, CVPR 2021). For a true mask ``G`` and a predicted mask ``P``,
    with ``G_d``, ``P_d`` the pixels within ``d`` of the mask's contour,

    .. math:: |(G_d \cap G) \cap (P_d \cap P)| \,/\, |(G_d \cap G) \cup (P_d \cap P)|

    The trimap (Kohli, Ladický, Torr: Robust higher order potentials for enforcing label consistency, IJCV
    2009; Chen et al.: DeepLab, `arXiv 1606.00915 <https://arxiv.org/abs/1606.00915>`_): the usual IoU of each
    class, over the pixels within ``d`` of a border between two classes of the ground truth, on both sides.
    What is predicted elsewhere has no influence on it.

    From the reference implementation: the chessboard distance (its 3 x 3 erosion, ``d`` times), ``d`` as 0.02
    of the image diagonal, rounded, at least 1, and that a mask which touches the frame of the image has a
    contour there.

    Our choices:

    - The paper takes one IoU for each object. Here the pixels of a class are summed over the data set, then
      divided, then averaged over the classes that occur in ground truth or prediction: what mmseg does for
      mIoU. Classes that do not occur are left out.
    - The frame is no border of the trimap.
    - Ignored pixels count nowhere, for any prediction, and their edge is no contour: what is behind
      it is not known. Two classes with less than ``d`` ignored pixels between them do have a border; likewise
      the frame.
    - Both figures have one ``d``. The publications on trimaps draw a curve over it: use several metrics, each
      with a ``width`` and a ``prefix``.

    ``mBIoU`` and ``trimap_mIoU`` are in percent, and nan where nothing can be compared (no borders, say). The
    log has a table of the classes. To keep the best checkpoint by it: ``checkpoint=dict(save_best='mBIoU',
    rule='greater')``.

    Args:
        width (int, optional): ``d`` in pixels of the label map. Defaults to None: by ``dilation_ratio``.
        dilation_ratio (float): ``d`` as a share of the diagonal of each image, in (0, 1]; unused where
            ``width`` is given. Defaults to 0.02.
        ignore_index (int): Label of pixels that count nowhere; that of the data set. Defaults to 255.
        nan_to_num (float, optional): IoU, in [0, 1], of classes that do not occur, which then enter the mean,
            as in IoUMetric. Defaults to None.
        collect_device (str): Where results of several ranks meet, 'cpu' or 'gpu'. Defaults to 'cpu'.
        prefix (str, optional): Put before the names, ``prefix/mBIoU``. Defaults to None.

    Raises:
        TypeError: ``ignore_index`` is no whole number.
        ValueError: An argument is out of range or no number, or the tested images have no labels.

    Example:
        >>> val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU']), dict(type='BoundaryIoUMetric')]
    """

    @checked
    def __init__(
        self,
        width: Count | None = None,
        dilation_ratio: float = 0.02,
        ignore_index: int = 255,
        nan_to_num: float | None = None,
        collect_device: Literal['cpu', 'gpu'] = 'cpu',
        prefix: str | None = None,
    ) -> None:
        if not 0 < dilation_ratio <= 1:
            rule = 'dilation_ratio is a share of the image diagonal and must be in (0, 1]'
            got = f'Got: {dilation_ratio}; for a number of pixels use `width`'
            raise ValueError(f'BoundaryIoUMetric: {rule}. {got}')
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.width = width
        self.dilation_ratio = dilation_ratio
        self.ignore_index = ignore_index
        self.nan_to_num = nan_to_num

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch: a small tensor for each image.

        Shape:
            - ``pred_sem_seg`` and ``gt_sem_seg`` of each sample: (1, H, W).
        """
        num_classes = len(self._classes())
        for sample in data_samples:
            pred, label = (_label_map(sample, key) for key in ('pred_sem_seg', 'gt_sem_seg'))
            if pred.shape != label.shape:
                sizes = f'pred_sem_seg {tuple(pred.shape)}, gt_sem_seg {tuple(label.shape)}'
                rule = f'prediction and label must have one size. Got: {sizes} in {_name(sample)}'
                cure = 'no transform that changes the size may follow LoadAnnotations in the test pipeline'
                raise ValueError(f'BoundaryIoUMetric: {rule}; {cure}')
            width = self.width or band_width(label.shape, self.dilation_ratio)
            counts = boundary_counts(pred, label.to(pred.device), num_classes, width, self.ignore_index)
            self.results.append(counts.cpu())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """``mBIoU`` and ``trimap_mIoU`` in percent, from the :func:`boundary_counts` of each image."""
        classes = self._classes()
        counts = sum(results, torch.zeros(2, 3, len(classes), dtype=torch.int64)).double()
        hit, pred, label = counts.unbind(1)
        iou = hit / (pred + label - hit)  # nan where a class does not occur
        if self.nan_to_num is not None:
            iou = iou.nan_to_num(nan=self.nan_to_num)
        rows = [(name, f'{a:.2f}', f'{b:.2f}') for name, (a, b) in zip(classes, (100 * iou).T.tolist())]
        logger = MMLogger.get_current_instance()
        band = f'{self.width} px' if self.width else f'{100 * self.dilation_ratio:g} % of the image diagonal'
        print_log(f'per class results within {band} of the boundaries:', logger)
        header = ('Class', 'Boundary IoU', 'Trimap IoU')
        print_log('\n' + table(rows, header, right=(1, 2), rule=True), logger)
        boundary, trimap = (round(100 * mean, 2) for mean in iou.nanmean(1).tolist())
        return dict(mBIoU=boundary, trimap_mIoU=trimap)

    def _classes(self) -> Sequence[str]:
        classes = (self.dataset_meta or {}).get('classes')
        if not classes:
            cure = 'set metainfo=dict(classes=(...)) in its config'
            raise ValueError(f'BoundaryIoUMetric: the data set names no classes; {cure}')
        return classes


def _label_map(sample: dict, key: str) -> Tensor:
    if sample.get(key) is None:
        cure = 'this metric is for semantic segmentation'
        if key == 'gt_sem_seg':
            cure = "test without labels has no boundaries; add dict(type='LoadAnnotations') to the pipeline"
        raise ValueError(f'BoundaryIoUMetric: no {key} in {_name(sample)}: {cure}')
    data = sample[key]['data']
    if data.dim() not in (2, 3) or data.shape[:-2].numel() != 1:
        got = f'{tuple(data.shape)} in {_name(sample)}'
        raise ValueError(f'BoundaryIoUMetric: {key} must be 1 x H x W. Got: {got}')
    return data.reshape(data.shape[-2:])


def _name(sample: dict) -> str:
    return str(sample.get('img_path') or 'a sample')
