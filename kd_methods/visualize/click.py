"""Choosing pixels with the mouse."""

import numpy as np


def click_pixels(image: np.ndarray, title: str) -> list[tuple[int, int]]:
    """Open a window with an image (H x W x 3, uint8) and wait for clicks; returns x and y of each."""
    from matplotlib import pyplot as plt

    cure = 'Name the place with --pixel X Y, in pixels of the image.'
    try:
        figure, ax = plt.subplots()
        if getattr(figure.canvas, 'required_interactive_framework', None) is None:
            backend = plt.get_backend()
            plt.close(figure)
            raise RuntimeError(f"matplotlib's {backend} has none; a display and tkinter or PyQt are needed")
    except Exception as error:  # also of a display that refuses, or of a toolkit that is half installed
        raise ValueError(f'--click: no window can be opened here ({error}). {cure}') from error
    ax.imshow(image, interpolation='nearest')
    ax.set_title(f'{title}\nclick one place or several, then press Enter')
    clicks = plt.ginput(n=-1, timeout=0)
    plt.close(figure)
    if not clicks:
        raise ValueError(f'--click: no place was clicked in {title}. {cure}')
    # the centre of a pixel has whole numbers here
    height, width = image.shape[:2]
    return [(min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)) for x, y in clicks]
