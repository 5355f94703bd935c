"""Choosing pixels with the mouse, without a mouse."""

import matplotlib
import numpy as np
import pytest

from kd_methods.visualize.click import click_pixels

IMAGE = np.zeros((6, 8, 3), np.uint8)


@pytest.fixture
def window(monkeypatch):
    """matplotlib's Agg as if it could open windows; `window((x, y), ...)` makes clicks."""
    from matplotlib import pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    before = matplotlib.get_backend()
    plt.switch_backend('agg')
    with monkeypatch.context() as patch:
        patch.setattr(FigureCanvasAgg, 'required_interactive_framework', 'mouse')
        yield lambda *clicks: patch.setattr(plt, 'ginput', lambda n, timeout: list(clicks))
    plt.close('all')
    plt.switch_backend(before)


def test_clicks_are_pixels_of_the_image(window):
    window((0.4, 0.6), (-0.5, 5.5), (7.4, 2))
    assert click_pixels(IMAGE, 'x.png') == [(0, 1), (0, 5), (7, 2)]


def test_no_click_is_an_error(window):
    window()
    with pytest.raises(ValueError, match='--click: no place was clicked in x.png.*--pixel X Y'):
        click_pixels(IMAGE, 'x.png')


def test_a_display_that_refuses_is_an_error(window, monkeypatch):
    monkeypatch.setattr('matplotlib.pyplot.subplots', lambda: 1 / 0)
    with pytest.raises(ValueError, match='--click: no window can be opened here .division.*--pixel X Y'):
        click_pixels(IMAGE, 'x.png')


def test_no_toolkit_is_an_error():
    from matplotlib import pyplot as plt

    plt.switch_backend('agg')
    with pytest.raises(ValueError, match='--click: no window can be opened .*agg has none.*--pixel X Y'):
        click_pixels(IMAGE, 'x.png')


def test_matplotlib_says_which_toolkits_open_windows():
    backend = pytest.importorskip('matplotlib.backends.backend_tkagg')
    assert backend.FigureCanvasTkAgg.required_interactive_framework == 'tk'
