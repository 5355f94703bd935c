"""BoundaryIoUMetric: what becomes of the counts of several images, and what it says about mistakes."""

import math
import pickle

import numpy as np
import pytest
import torch
from boundary_toys import blobs, figures, mean_iou, metric, sample, slow_counts
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, DefaultScope
from mmengine.structures import BaseDataElement

from kd_methods.evaluation import BoundaryIoUMetric
from kd_methods.evaluation.boundary import band_width


def test_width_of_the_band():
    assert [band_width((1024, 2048)), band_width((96, 96)), band_width((3, 4))] == [46, 3, 1]
    assert band_width((30, 40), 0.1) == 5
    pred, label = blobs(0, size=(30, 40))
    assert figures([(pred, label)], 4, dilation_ratio=0.1) == figures([(pred, label)], 4, width=5)
    assert (
        figures([(pred, label)], 4)
        == figures([(pred, label)], 4, width=1)
        != figures([(pred, label)], 4, width=5)
    )


def test_perfect_and_all_wrong():
    _, label = blobs(1)
    assert figures([(label.clamp(max=3), label)], 4) == (100, 100)
    assert figures([((label + 1) % 4, label)], 4) == (0, 0)


def test_a_shift_costs_the_boundary_more():
    _, label = blobs(2, size=(64, 96), ignored=False)
    pair = [(label.roll(1, 1), label)]
    assert figures(pair, 4, width=2)[0] < mean_iou(pair, 4) - 5
    assert figures(pair, 4, width=2)[1] < mean_iou(pair, 4) - 5


@pytest.mark.parametrize('seed', range(3))
def test_band_over_everything_is_miou(seed):
    """Also where labels are no class, which mmseg counts as missed."""
    pred, label = blobs(seed)
    label[10:14, 10:20] = 9
    pairs = [(pred, label), blobs(seed + 10)]
    assert figures(pairs, 4, width=10**6) == pytest.approx([mean_iou(pairs, 4)] * 2, abs=0.011)
    without = [(pred, label.masked_fill(label == 9, 255)), pairs[1]]
    assert abs(mean_iou(pairs, 4) - mean_iou(without, 4)) > 0.1


def test_absent_classes_do_not_enter_the_mean():
    pairs = [blobs(7)]
    assert figures(pairs, 9, width=2) == figures(pairs, 4, width=2)
    # unless that is asked for, as IoUMetric does it
    assert figures(pairs, 8, width=2, nan_to_num=1.0)[0] == pytest.approx(
        (figures(pairs, 4, width=2)[0] + 100) / 2, abs=0.011
    )
    # a class that is only predicted does
    pred, label = pairs[0]
    pred[20:24, 20:24] = 4
    assert figures(pairs, 9, width=2)[0] < 0.9 * figures([blobs(7)], 4, width=2)[0]


def test_images_are_added_up():
    """One by one, in batches, and by ranks that see a part of them each."""
    pairs = [blobs(8, size=(20, 30)), blobs(9, size=(41, 33)), blobs(10)]
    together = metric(4, width=2)
    together.process({}, [sample(*pair) for pair in pairs])
    ranks = [metric(4, width=2), metric(4, width=2)]
    for rank, mine in zip(ranks, (pairs[:1], pairs[1:])):
        for pair in mine:
            rank.process({}, [sample(*pair)])
    gathered = pickle.loads(pickle.dumps(ranks[0].results)) + pickle.loads(pickle.dumps(ranks[1].results))
    assert together.compute_metrics(together.results) == ranks[0].compute_metrics(gathered)
    assert len(gathered) == 3 and all(counts.shape == (2, 3, 4) for counts in gathered)
    counts = sum(slow_counts(*pair, 4, 2) for pair in pairs).astype(float)
    iou = counts[:, 0] / (counts[:, 1] + counts[:, 2] - counts[:, 0])
    assert figures(pairs, 4, width=2) == pytest.approx(100 * iou.mean(1), abs=0.006)
    assert np.mean([figures([p], 4, width=2) for p in pairs], 0) != pytest.approx(100 * iou.mean(1), abs=0.1)


def test_through_an_evaluator():
    """Built by name under mmseg's scope, beside IoUMetric."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        evaluator = Evaluator([dict(type='IoUMetric'), dict(type='BoundaryIoUMetric', width=2)])
    evaluator.dataset_meta = dict(classes=('road', 'sky', 'tree', 'car'))
    evaluator.process([BaseDataElement(**sample(*blobs(11)))])
    result = evaluator.evaluate(1)
    assert list(result) == ['aAcc', 'mIoU', 'mAcc', 'mBIoU', 'trimap_mIoU']
    assert (result['mBIoU'], result['trimap_mIoU']) == figures([blobs(11)], 4, width=2)


def test_table_of_the_classes(monkeypatch):
    lines = []
    monkeypatch.setattr('kd_methods.evaluation.boundary.print_log', lambda text, logger: lines.append(text))
    label = torch.zeros(8, 8, dtype=torch.long)
    label[2:6, 2:6] = 1
    figures([(label.roll(1, 1), label)], 3, width=1)
    figures([(label, label)], 3)
    assert lines[0] == 'per class results within 1 px of the boundaries:'
    assert lines[2] == 'per class results within 2 % of the image diagonal of the boundaries:'
    assert lines[1].splitlines()[1:] == [
        'Class    Boundary IoU  Trimap IoU',
        '---------------------------------',
        'class 0         73.08       66.67',
        'class 1         33.33       50.00',
        'class 2           nan         nan',
    ]


def test_other_types_of_labels():
    """uint8 labels; float predictions, which a head of one channel makes; no more dimensions than needed."""
    pred, label = blobs(12, classes=2)
    want = figures([(pred, label)], 2)
    assert figures([(pred.float(), label.to(torch.uint8))], 2) == want
    built = metric(2)
    built.process({}, [dict(pred_sem_seg=dict(data=pred), gt_sem_seg=dict(data=label))])
    assert built.compute_metrics(built.results)['mBIoU'] == want[0]
    thin = label[:1].clamp(max=1)  # an image of one row keeps its shape
    assert figures([(thin, thin)], 2)[0] == 100


def test_another_ignore_index():
    pred, label = blobs(13)
    moved = label.masked_fill(label == 255, 7)
    assert figures([(pred, moved)], 4, ignore_index=7) == figures([(pred, label)], 4)
    assert figures([(pred, moved)], 4) != figures([(pred, label)], 4)


def test_nothing_known():
    label = torch.full((5, 6), 255)
    assert all(math.isnan(x) for x in figures([(label * 0, label)]))
    assert all(math.isnan(x) for x in metric().compute_metrics([]).values())


@pytest.mark.parametrize(
    'kwargs, error, words',
    [
        (dict(width=0), ValueError, 'width must be a whole number of 1 or more, or None. Got: 0'),
        (dict(width=2.5), ValueError, 'width must be a whole number .* Got: 2.5'),
        (dict(width=True), ValueError, 'width must be a whole number .* Got: True'),
        (dict(dilation_ratio=0), ValueError, r'dilation_ratio is a share .*\(0, 1\]. Got: 0; .*use `width`'),
        (dict(dilation_ratio=5), ValueError, 'dilation_ratio .* Got: 5'),
        (dict(dilation_ratio=float('nan')), ValueError, 'dilation_ratio must be a number. Got: nan'),
        (dict(dilation_ratio='2%'), ValueError, "dilation_ratio must be a number. Got: '2%'"),
        (dict(ignore_index=None), TypeError, 'ignore_index must be a whole number. Got: None'),
        (dict(nan_to_num='0'), ValueError, "nan_to_num must be a number, or None. Got: '0'"),
        (
            dict(collect_device='cuda'),
            ValueError,
            "collect_device='cuda' is not known. Possible: 'cpu', 'gpu'",
        ),
    ],
)
def test_wrong_arguments(kwargs, error, words):
    with pytest.raises(error, match=words):
        METRICS.build(dict(type='BoundaryIoUMetric', **kwargs))


def test_wrong_samples():
    pred, label = blobs(0)
    right = sample(pred, label)
    with pytest.raises(ValueError, match='no gt_sem_seg in x.png: .*LoadAnnotations'):
        metric().process({}, [{k: v for k, v in right.items() if k != 'gt_sem_seg'}])
    with pytest.raises(
        ValueError, match='no pred_sem_seg in a sample: this metric is for semantic segmentation'
    ):
        metric().process({}, [dict(pred_instances=dict(), gt_sem_seg=right['gt_sem_seg'])])
    with pytest.raises(
        ValueError, match=r'one size. Got: pred_sem_seg \(37, 50\), gt_sem_seg \(18, 50\) in x.png'
    ):
        metric().process({}, [sample(pred, label[:18])])
    with pytest.raises(ValueError, match=r'pred_sem_seg must be 1 x H x W. Got: \(2, 37, 50\) in x.png'):
        metric().process({}, [dict(right, pred_sem_seg=dict(data=torch.stack([pred, pred])))])
    nameless = BoundaryIoUMetric()
    for meta in (None, {}, dict(classes=())):
        nameless.dataset_meta = meta
        with pytest.raises(ValueError, match='the data set names no classes; set metainfo'):
            nameless.process({}, [right])
