"""The counts behind boundary IoU and trimap mIoU: by hand, by slow forms, what must and must not count."""

import doctest
import math
import time

import cv2
import numpy as np
import pytest
import torch
from boundary_toys import blobs, figures, slow_counts

from kd_methods.evaluation import boundary
from kd_methods.evaluation.boundary import band_width, boundary_counts, near_other_label


def test_by_hand():
    """A class of 4 x 4 in 8 x 8, predicted one column to the right."""
    label = torch.zeros(8, 8, dtype=torch.long)
    label[2:6, 2:6] = 1
    pred = label.roll(1, 1)
    counts = boundary_counts(pred, label, 2, width=1)
    # class 1: rings of 12, of which the rows share 3 + 3 and the columns nothing more
    assert counts[0, :, 1].tolist() == [6, 12, 12]
    # class 0: the frame's 28, and a ring of 20 that lies with 6 pixels in the frame where the square moved
    # towards it; shared are the frame, and 5 + 5 of the rings' rows
    assert counts[0, :, 0].tolist() == [28 + 10, 28 + 20 - 6, 28 + 20]
    # trimap: 12 pixels of the square, whose first column is missed, and 20 around it, 4 of which are taken
    # for it
    assert counts[1].tolist() == [[16, 8], [20, 12], [20, 12]]
    biou, trimap = figures([(pred, label)], 2, width=1)
    assert biou == pytest.approx(100 * (38 / 52 + 6 / 18) / 2, abs=0.006)
    assert trimap == pytest.approx(100 * (16 / 24 + 8 / 16) / 2, abs=0.006)


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('width', [1, 2, 3, 5, 8, 40])
def test_as_slow_form(seed, width):
    pred, label = blobs(seed)
    assert (label == 255).any() and (label != 255).any()
    assert boundary_counts(pred, label, 4, width).tolist() == slow_counts(pred, label, 4, width).tolist()


@pytest.mark.parametrize('size', [(37, 50), (9, 120)])
def test_as_reference_implementation(size):
    """The published mask_to_boundary, in OpenCV, for each class."""
    pred, label = blobs(3, size=size, ignored=False)
    width = max(1, int(round(0.02 * np.sqrt(size[0] ** 2 + size[1] ** 2))))
    assert band_width(size) == width

    def bands(labels):
        for c in range(4):
            mask = (labels == c).numpy().astype(np.uint8)
            padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            yield mask - cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]

    pairs = list(zip(bands(pred), bands(label)))
    iou = [(p * g > 0).sum() / (p + g > 0).sum() for p, g in pairs]
    assert figures([(pred, label)], 4)[0] == pytest.approx(100 * np.mean(iou), abs=0.006)


@pytest.mark.parametrize('num_labels', [200, 255, 256, 400])
def test_many_labels(num_labels):
    """Beyond what 8 bits hold."""
    label = torch.arange(num_labels).repeat_interleave(3)[None]
    near = near_other_label(label, torch.ones_like(label, dtype=torch.bool), num_labels, 1)
    assert near[0].tolist() == [False, *([True, False, True] * num_labels)[1:-1], False]


@pytest.mark.parametrize('width', [1, 4])
def test_ignored_pixels_have_no_influence(width):
    pred, label = blobs(4)
    other = torch.where(label == 255, torch.randint(0, 4, label.shape), pred)
    assert (other != pred).any()
    assert torch.equal(boundary_counts(pred, label, 4, width), boundary_counts(other, label, 4, width))
    assert not torch.equal(
        boundary_counts(pred, label, 4, width, -1), boundary_counts(other, label, 4, width, -1)
    )


def test_edge_of_ignored_region_is_no_boundary():
    label = torch.zeros(20, 20, dtype=torch.long)
    label[8:12, 8:12] = 255
    known = label != 255
    assert not near_other_label(label.masked_fill(~known, 0), known, 3, 2).any()
    whole = boundary_counts(torch.zeros_like(label), label, 2, 2)
    assert whole[0, 2].tolist() == [400 - 16 * 16, 0] and whole[1].sum() == 0
    # but two classes have a border, also where it runs through ignored pixels: 4 of them, so at distance 5
    label[:, 12:] = 1
    label[:, 8:12] = 255
    assert boundary_counts(label.clamp(max=1), label, 2, 4)[1].sum() == 0
    assert boundary_counts(label.clamp(max=1), label, 2, 5)[1, 2].tolist() == [20, 20]
    assert boundary_counts(label.clamp(max=1), label, 2, 6)[1, 2].tolist() == [40, 40]


def test_frame():
    """A contour of masks, no border of the trimap."""
    label = torch.zeros(10, 12, dtype=torch.long)
    counts = boundary_counts(label, label, 2, 2)
    assert counts[0, :, 0].tolist() == [120 - 6 * 8] * 3
    assert counts[1].sum() == 0
    biou, trimap = figures([(label, label)], 2, width=2)
    assert biou == 100 and math.isnan(trimap)


def test_class_permutation():
    pred, label = blobs(5)
    order = torch.tensor([2, 0, 3, 1])
    moved = torch.where(label == 255, label, order[label.clamp(max=3)])
    assert torch.equal(
        boundary_counts(order[pred], moved, 4, 2)[..., order], boundary_counts(pred, label, 4, 2)
    )


@pytest.mark.parametrize(
    'turn', [lambda x: x.flip(0), lambda x: x.flip(1), lambda x: x.rot90(), lambda x: x.T]
)
def test_flips_and_turns(turn):
    pred, label = blobs(6)
    for width in (1, 4):
        assert torch.equal(
            boundary_counts(turn(pred), turn(label), 4, width), boundary_counts(pred, label, 4, width)
        )


def test_a_street_scene_is_quick():
    """1024 x 2048, 19 classes, the default width: 0.1 s on one thread where this was written."""
    label = (
        blobs(14, classes=19, size=(128, 256), ignored=False)[1]
        .repeat_interleave(8, 0)
        .repeat_interleave(8, 1)
    )
    pred = label.roll((2, 3), (0, 1))
    spent = []
    for _ in range(3):
        start = time.process_time()
        boundary_counts(pred, label, 19, band_width(label.shape))
        spent.append(time.process_time() - start)
    assert min(spent) < 1


def test_examples_of_the_docstrings():
    assert doctest.testmod(boundary) == (0, 6)
