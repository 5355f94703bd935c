"""Choosing pixels with the mouse."""

import os
import sys

import numpy as np


def click_pixels(image: np.ndarray, title: str) -> list[tuple[int, int]]:
    """Open a window with an image and wait for clicks.

    Args:
        image (np.ndarray): Height x width x 3, uint8.
        title (str): What the window says.

    Returns:
        list[tuple[int, int]]: x and y of each click in the image.

    Raises:
        ValueError: There is no display, no way to open a window, or nothing was clicked.
    """
    import matplotlib

    cure = 'Name the place with --pixel X Y, in pixels of the image.'
    if sys.platform.startswith('linux') and not (
        os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    ):
        raise ValueError(
            '--click opens a window, and there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is '
            'set). ' + cure
        )
    try:
        from matplotlib import pyplot as plt

        figure, ax = plt.subplots()
    except Exception as error:  # a display that refuses, or a toolkit that is half installed
        raise ValueError(
            f'--click: no window can be opened ({type(error).__name__}: {error}). {cure}'
        ) from error
    backend = matplotlib.get_backend()
    if backend.lower() not in {name.lower() for name in _interactive()}:
        plt.close(figure)
        raise ValueError(
            f'--click: matplotlib has no toolkit to open a window with (its backend is {backend}); tkinter '
            f'or PyQt would be one. {cure}'
        )
    ax.imshow(image, interpolation='nearest')
    ax.set_title(f'{title}\nclick one place or several, then press Enter')
    height, width = image.shape[:2]
    clicks = plt.ginput(n=-1, timeout=0)
    plt.close(figure)
    # A pixel's centre has whole numbers here.
    pixels = [(min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)) for x, y in clicks]
    if not pixels:
        raise ValueError(f'--click: no place was clicked in {title}. {cure}')
    return pixels


def _interactive() -> list[str]:
    from matplotlib.backends import BackendFilter, backend_registry

    return backend_registry.list_builtin(BackendFilter.INTERACTIVE)
