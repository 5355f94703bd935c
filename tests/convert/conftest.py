"""What the tests of converters share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from kd_methods.convert.base import Outcome


@pytest.fixture
def stop_and_go_on() -> Callable:
    """`stop_and_go_on(convert, folder, number)`: end a conversion, in this process, when half of that PNG
    file is written.

    Below ``folder`` all files before that one must be left, whole, and no other; the next conversion keeps
    and completes them."""

    def check(
        convert: Callable[[], Outcome],
        folder: Path,
        number: int,
        error: type[BaseException] = KeyboardInterrupt,
    ) -> Outcome:
        download, save, calls = set(folder.rglob('*')), Image.Image.save, []

        def half(image, path, **kwargs):
            calls.append(path)
            if len(calls) == number:
                path.write_bytes(b'\x89PNG half')
                raise error
            save(image, path, **kwargs)

        def written():
            return {
                path: (path.read_bytes(), path.stat().st_mtime_ns)
                for path in folder.rglob('*')
                if path not in download and path.is_file()
            }

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Image.Image, 'save', half)
            with pytest.raises(error):
                convert()
        before = written()
        assert len(before) == number - 1 and all(path.suffix == '.png' for path in before)
        for path in before:
            Image.open(path).load()
        outcome = convert()
        assert (outcome.kept, outcome.exit_code) == (number - 1, 0) and before.items() <= written().items()
        return outcome

    return check
