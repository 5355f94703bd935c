"""Choosing pixels with the mouse, without a mouse."""

import sys

import matplotlib
import numpy as np
import pytest

from kd_methods.visualize import click

IMAGE = np.zeros((6, 8, 3), np.uint8)


@pytest.fixture
def display(monkeypatch):
    """A display by name, clicks that were made, and matplotlib's Agg as if it could open windows."""
    from matplotlib import pyplot as plt

    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(click, '_interactive', lambda: ['agg'])
    before = matplotlib.get_backend()
    plt.switch_backend('agg')
    yield lambda *clicks: monkeypatch.setattr(plt, 'ginput', lambda n, timeout: list(clicks))
    plt.close('all')
    plt.switch_backend(before)


def test_clicks_are_pixels_of_the_image(display):
    display((0.4, 0.6), (-0.5, 5.5), (7.4, 2))
    assert click.click_pixels(IMAGE, 'x.png') == [(0, 1), (0, 5), (7, 2)]


def test_no_click_is_an_error(display):
    display()
    with pytest.raises(ValueError, match='--click: no place was clicked in x.png.*--pixel X Y'):
        click.click_pixels(IMAGE, 'x.png')


def test_no_toolkit_is_an_error(display, monkeypatch):
    display((1, 1))
    monkeypatch.setattr(click, '_interactive', lambda: ['tkagg'])
    with pytest.raises(ValueError, match='--click: matplotlib has no toolkit .*agg.*--pixel X Y'):
        click.click_pixels(IMAGE, 'x.png')


@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere a display has no name in the environment')
def test_no_display_is_an_error(monkeypatch):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match='there is no display here.*--pixel X Y'):
        click.click_pixels(IMAGE, 'x.png')


def test_matplotlibs_own_list_of_toolkits():
    assert {'tkagg', 'qtagg'} <= {name.lower() for name in click._interactive()}
