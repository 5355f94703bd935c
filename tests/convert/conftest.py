"""What the tests of converters share."""
from collections.abc import Callable
from contextlib import contextmanager

import pytest
from PIL import Image


@pytest.fixture
def interrupted_at() -> Callable:
    """`with interrupted_at(number, error):` a conversion in this process ends when half of that PNG file is written."""
    @contextmanager
    def interrupt(number: int, error: type[BaseException] = KeyboardInterrupt):
        save, calls = Image.Image.save, []

        def half(image, path, **kwargs):
            calls.append(path)
            if len(calls) == number:
                path.write_bytes(b'\x89PNG half')
                raise error
            save(image, path, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Image.Image, 'save', half)
            with pytest.raises(error):
                yield

    return interrupt
