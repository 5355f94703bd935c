"""Both pictures show what they are given."""

import numpy as np
import pytest
from PIL import Image

from kd_methods.experiments.logs import TrainingLog
from kd_methods.experiments.pictures import COLOURS, draw_comparison, draw_curves, smooth
from kd_methods.experiments.summary import summarize

VALUES = dict(alone=[30.0, 36.0, 33.0], kd=[41.0, 42.0, 43.0], lone=[38.0], none=[None])
ROWS = summarize(
    [dict(arm=a, seed=s, metrics=dict(mIoU=v)) for a, vs in VALUES.items() for s, v in enumerate(vs)],
    'mIoU',
    'alone',
)


def where(picture: np.ndarray, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of a colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.nonzero((picture == rgb).all(-1))


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert('RGB'))


def test_comparison_shows_all_arms(tmp_path):
    draw_comparison(tmp_path / 'all.png', ROWS, 'mIoU', 'alone', 'title')
    picture = read(tmp_path / 'all.png')
    base, others = where(picture, COLOURS[0]), where(picture, COLOURS[2])
    assert len(base[0]) > 30 and len(others[0]) > 60
    assert base[0].mean() < others[0].min() and base[1].mean() < others[1].mean()  # first row, lower value
    draw_comparison(tmp_path / 'one.png', ROWS[:1], 'mIoU', 'alone', 'title')
    assert len(where(read(tmp_path / 'one.png'), COLOURS[2])[0]) == 0


def test_curves_show_all_arms(tmp_path):
    def log(level: float, miou: dict) -> TrainingLog:
        return TrainingLog({i: level for i in range(100)}, dict(mIoU=miou), {})

    logs = {
        'alone': [log(3, {50: 1.0, 100: 2.0}), log(3.4, {50: 1.2, 100: 2.2})],
        'kd': [log(1, {50: 3.0, 100: 4.0})],
        **{f'more {i}': [log(2 + i / 10, {50: 2.0})] for i in range(4)},  # more arms than colours
        'no validation': [TrainingLog({}, {}, {})],
    }
    draw_curves(tmp_path / 'curves.png', logs, 'mIoU')
    picture = read(tmp_path / 'curves.png')
    for colour in COLOURS[:2]:
        assert len(where(picture, colour)[0]) > 200
    left = picture[:, : picture.shape[1] // 2]
    assert where(left, COLOURS[1])[0].mean() > where(left, COLOURS[2])[0].mean()  # a lower loss


@pytest.mark.parametrize('count', [1, 5, 200])
def test_smoothing_keeps_length_and_lines(count):
    values = np.arange(count, dtype=float)
    inner = slice(10, -10) if count > 20 else slice(None)
    assert np.allclose(smooth(values)[inner], values[inner]) and len(smooth(values)) == count


def test_smoothing_takes_the_mean_of_neighbours():
    values = np.zeros(100)
    values[50] = 7.0  # 3 % of 100 to both sides
    assert np.allclose(smooth(values)[46:55], [0, 1, 1, 1, 1, 1, 1, 1, 0])
