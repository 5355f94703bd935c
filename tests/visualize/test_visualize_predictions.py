"""Predictions and truth as they are drawn, and the drawing itself."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from kd_methods.visualize import draw
from kd_methods.visualize.maps import Panel, Row
from kd_methods.visualize.predictions import Box, Classes, predicted_panel, true_panel

CLASSES = Classes(dict(classes=('sky', 'road'), palette=[[1, 2, 3], [40, 50, 60]]))
PICTURE = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)


def labels(*rows):
    return PixelData(data=torch.tensor(rows)[None])


def test_label_maps_are_painted_with_the_data_sets_palette():
    sample = BaseDataElement(pred_sem_seg=labels([0, 1], [1, 1]))
    truth = np.array([[0, 1], [0, 255]])
    panel = predicted_panel(sample, PICTURE, CLASSES, truth)
    assert panel.array.tolist() == [[[1, 2, 3], [40, 50, 60]], [[40, 50, 60]] * 2]
    assert panel.title == '66.7 % of pixels right' and panel.labels == [0, 1] and panel.cover == (6, 8)
    known = true_panel(BaseDataElement(gt_sem_seg=labels([0, 255])), PICTURE, CLASSES)
    assert known.array.tolist() == [[[1, 2, 3], [255, 255, 255]]] and known.labels == [0]


def test_a_data_set_without_colours_gets_some():
    for palette in (None, 'random', [[0, 0, 0]]):
        classes = Classes(dict(palette=palette))
        assert classes.colour(3) != classes.colour(4) and classes.name(3) == '3'


def test_boxes_and_masks():
    found = InstanceData(
        bboxes=torch.tensor([[0.0, 1, 4, 5], [1, 1, 2, 2]]),
        labels=torch.tensor([1, 0]),
        scores=torch.tensor([0.9, 0.2]),
        masks=torch.ones(2, 6, 8, dtype=torch.bool),
    )
    panel = predicted_panel(BaseDataElement(pred_instances=found), PICTURE, CLASSES, score=0.3)
    assert [(box.label, box.corners, box.mask.shape) for box in panel.boxes] == [(1, (0, 1, 4, 5), (6, 8))]
    assert panel.array is PICTURE and panel.title == 'objects with score ≥ 0.3: 1'
    found.bboxes = torch.zeros(2, 4)
    assert (
        predicted_panel(BaseDataElement(pred_instances=found), PICTURE, CLASSES, score=0.1).boxes[1].corners
        is None
    )


def test_truth_of_a_resized_image_is_brought_back():
    sample = BaseDataElement(
        gt_instances=InstanceData(bboxes=torch.tensor([[2.0, 4, 6, 8]]), labels=torch.tensor([1])),
        metainfo=dict(scale_factor=(2.0, 4.0)),
    )
    assert true_panel(sample, PICTURE, CLASSES, scaled=True).boxes[0].corners == (1, 1, 3, 2)
    assert true_panel(sample, PICTURE, CLASSES).boxes[0].corners == (2, 4, 6, 8)
    assert true_panel(BaseDataElement(), PICTURE, CLASSES) is None


def test_other_predictions_are_refused():
    with pytest.raises(
        ValueError, match=r"--what prediction: only label maps.*\['pred_depth'\].*--what boundary"
    ):
        predicted_panel(BaseDataElement(pred_depth=1), PICTURE, CLASSES)


def pixels_of(page):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = draw.draw(page)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy(), figure


def page_of(array, cover=(8, 8), **options):
    return draw.Sheet(
        'heading', ['one'], [Row('tap', [Panel(array, cover)], (0, 1))], (8, 8), colours='gray', **options
    )


def test_a_place_is_drawn_over_its_pixels_and_padding_is_cut_off():
    array = np.zeros((4, 4))
    array[1, 2] = 1
    pixels, figure = pixels_of(page_of(array, cover=(16, 16)))  # the image is its upper left quarter
    box = figure.axes[0].get_window_extent()
    panel = (
        pixels[::-1][int(box.y0) + 2 : int(box.y1) - 1, int(box.x0) + 2 : int(box.x1) - 1][::-1].mean(2) / 255
    )
    height, width = panel.shape
    assert panel[3 * height // 4, width // 4] < 0.1 and panel[height // 4, width // 4] < 0.1
    assert panel[:, 3 * width // 4].max() < 0.1, 'place (1, 2) lies beyond the image'
    array[1, 1] = 1
    again = pixels_of(page_of(array, cover=(16, 16)))[0]
    assert not np.array_equal(pixels, again), 'what is seen is what is computed'


def test_marker_legend_bar_and_boxes_are_drawn():
    plain = pixels_of(page_of(np.zeros((4, 4))))[0]
    with_bar = pixels_of(page_of(np.zeros((4, 4)), bar='distance'))[0]
    assert with_bar.shape[1] > plain.shape[1]
    marked = pixels_of(page_of(np.zeros((4, 4)), marker=(4, 4)))[0]
    red = (marked.astype(int) - plain).max(0).max(0)
    assert marked.shape == plain.shape and red[0] > 150
    explained = pixels_of(page_of(np.zeros((4, 4)), legend=[0, 1], classes=CLASSES))[0]
    assert explained.shape[0] > plain.shape[0] and (explained == (40, 50, 60)).all(2).any()


def test_places_without_a_value_are_grey():
    array = np.zeros((4, 4))
    array[0, 0] = np.nan
    pixels, plain = (pixels_of(page_of(values, bar='distance'))[0] for values in (array, np.zeros((4, 4))))
    grey = (pixels == [0xD1, 0xD5, 0xDB]).all(2)
    assert grey.sum() > 1000 and not (plain == [0xD1, 0xD5, 0xDB]).all(2).any()


def test_the_legend_has_room_for_long_names():
    """Fewer names a line, so that the page grows downwards and nothing is cut off at its sides."""
    names = [f'a class of many words {i}' for i in range(6)]
    long, short = (
        pixels_of(page_of(np.zeros((4, 4)), legend=list(range(6)), classes=Classes(dict(classes=given))))[0]
        for given in (names, None)
    )
    assert long.shape[0] > short.shape[0] and (long[-60:, [0, -1]] == 255).all()


def test_boxes_that_do_not_count_are_dashed():
    def page(**options):
        box = Box(1, (1, 1, 7, 7), **options)
        return draw.Sheet(
            '',
            ['image'],
            [Row('', [Panel(np.zeros((8, 8, 3), np.uint8), (8, 8), boxes=[box])])],
            (8, 8),
            classes=CLASSES,
        )

    solid, dashed = (
        (pixels_of(page(ignored=ignored))[0][150:] == (40, 50, 60)).all(2).sum() for ignored in (False, True)
    )
    assert 0 < dashed < 0.9 * solid


def test_a_mask_covers_what_its_panel_covers():
    """A mask of half the image's size, on the upper half of the page."""
    mask = np.ones((4, 2), bool)
    panel = Panel(np.zeros((4, 8, 3), np.uint8), (4, 8), boxes=[Box(1, None, mask=mask)])
    pixels, figure = pixels_of(draw.Sheet('', ['image'], [Row('', [panel])], (8, 8), classes=CLASSES))
    box = figure.axes[0].get_window_extent()
    tint = (0.45 * np.array((40, 50, 60))).round().astype(int)
    ys, xs = np.nonzero((abs(pixels.astype(int) - tint) <= 1).all(2))
    np.testing.assert_allclose(
        [(xs.min() - box.x0) / box.width, np.ptp(xs) / box.width, np.ptp(ys) / box.height],
        [0, 1, 0.5],
        atol=0.02,
    )


def test_borders_of_the_truth_lie_on_the_image():
    dark, truth = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), int)
    truth[2:6, 2:6] = 1

    def page(outline):
        return draw.Sheet('', ['image'], [Row('', [Panel(dark, (8, 8), outline=outline)])], (8, 8))

    blank, (pixels, figure) = pixels_of(page(np.zeros((8, 8), int)))[0], pixels_of(page(truth))
    ys, xs = np.nonzero((pixels != blank).any(2))
    box = figure.axes[0].get_window_extent()
    share = [(xs.min() - box.x0) / box.width, (xs.max() - box.x0) / box.width, np.ptp(ys) / box.height]
    np.testing.assert_allclose(share, [0.25, 0.75, 0.5], atol=0.02)


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    figure = draw.draw(page_of(np.zeros((4, 4))))
    assert draw.save(figure, tmp_path / 'new' / 'a.png').stat().st_size > 1000

    class Broken:
        def savefig(self, path, **kwargs):
            path.write_bytes(b'half')
            raise MemoryError

    with pytest.raises(MemoryError):
        draw.save(Broken(), tmp_path / 'new' / 'b.png')
    assert [p.name for p in (tmp_path / 'new').iterdir()] == ['a.png']
