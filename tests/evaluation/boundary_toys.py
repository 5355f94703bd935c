"""Label maps for the tests of boundary figures, and an independent slow form of the counts."""

import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_erosion

from kd_methods.evaluation import BoundaryIoUMetric

SQUARE = np.ones((3, 3), dtype=bool)


def sample(pred, label):
    """What the runner hands to a metric for one image."""
    return dict(
        pred_sem_seg=dict(data=torch.as_tensor(pred)[None]),
        gt_sem_seg=dict(data=torch.as_tensor(label)[None]),
        img_path='x.png',
    )


def metric(classes=3, **kwargs):
    """A metric that knows its classes."""
    built = BoundaryIoUMetric(**kwargs)
    built.dataset_meta = dict(classes=tuple(f'class {i}' for i in range(classes)))
    return built


def figures(pairs, classes=3, **kwargs):
    """mBIoU and trimap mIoU of some (prediction, label)."""
    built = metric(classes, **kwargs)
    built.process({}, [sample(*pair) for pair in pairs])
    result = built.compute_metrics(built.results)
    return result['mBIoU'], result['trimap_mIoU']


def mean_iou(pairs, classes=3, ignore_index=255):
    """MIoU by mmseg's own metric."""
    from mmseg.evaluation import IoUMetric

    built = IoUMetric(ignore_index=ignore_index)
    built.dataset_meta = dict(classes=tuple(f'class {i}' for i in range(classes)))
    built.process({}, [sample(*pair) for pair in pairs])
    return float(built.compute_metrics(built.results)['mIoU'])


def blobs(seed, classes=4, size=(37, 50), ignored=True):
    """A prediction and a label with regions, single wrong pixels, and ignored regions."""
    g = torch.Generator().manual_seed(seed)

    def regions(cells):
        low = torch.randn(1, classes, *cells, generator=g)
        return torch.nn.functional.interpolate(low, size, mode='bilinear')[0].argmax(0)

    label = regions((4, 5))
    pred = torch.where(torch.rand(size, generator=g) < 0.8, label.roll((1, -2), (0, 1)), regions((6, 6)))
    if ignored:
        label = label.masked_fill(regions((5, 4)) == 0, 255)
    return pred, label


def slow_counts(pred, label, classes, width):
    """The same counts by one erosion and one dilation a class, as the publications describe them."""
    pred, label = pred.numpy(), label.numpy()
    unknown = label == 255

    def boundary(mask):  # an ignored pixel may be of any class: it takes nothing from a mask
        return mask & ~binary_erosion(mask | unknown, SQUARE, iterations=width, border_value=0)

    masks = [(label == c, (pred == c) & ~unknown) for c in range(classes)]
    reach = [binary_dilation(true, SQUARE, iterations=width) for true, _ in masks]
    near = sum(r.astype(int) for r in reach) > 1  # of two classes or more, one of which is the pixel's own
    bands = [(boundary(p), boundary(g)) for g, p in masks]
    trimap = [(p & near & ~unknown, g & near) for g, p in masks]
    return np.array(
        [
            [[(p & g).sum() for p, g in pairs], [p.sum() for p, _ in pairs], [g.sum() for _, g in pairs]]
            for pairs in (bands, trimap)
        ]
    )
