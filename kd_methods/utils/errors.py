"""Which errors are ours to report in a sentence."""

import contextlib
import os
import os.path as osp
import re
import traceback
from collections.abc import Iterator
from typing import Any

from kd_methods.utils.parts import walk
from kd_methods.utils.paths import REPO_ROOT


class SampleError(ValueError):
    """A sample of the data cannot be used; the text names its files.

    A data loader raises it once more in the main process, with a worker's traceback as its text: the sentence
    is taken out of that, and the traceback becomes the cause.
    """

    def __init__(self, text: str) -> None:
        sentence = text.rpartition('SampleError: ')[2].strip()
        super().__init__(sentence)
        if sentence != text:
            self.__cause__ = RuntimeError(text)


def is_own_error(error: BaseException) -> bool:
    """Whether this project itself raised an error, as opposed to a package below it."""
    if isinstance(error, SampleError):  # torch raises it again
        return True
    frames = traceback.extract_tb(error.__traceback__)
    ours = (str(REPO_ROOT / 'kd_methods') + os.sep, str(REPO_ROOT / 'tools') + os.sep)
    return bool(frames) and osp.abspath(frames[-1].filename).startswith(ours)


def describe_error(error: BaseException, length: int = 200) -> str:
    """Kind and text of an error of another package, which may have none, such as that of a bare ``assert``.

    Args:
        error (BaseException): The error.
        length (int): Most characters of its text. Defaults to 200.
    """
    return f'{type(error).__name__}: {_text(error)[:length]}'


def _text(error: BaseException) -> str:
    return str(error.args[0] if len(error.args) == 1 else error).strip() or 'a check failed'


@contextlib.contextmanager
def naming(key: str, cfg: Any = None) -> Iterator[None]:
    """Give the errors of other packages inside of this the config key of what they are about.

    Args:
        key (str): The key of what is built.
        cfg: Its config: a type or an argument in it that the error names is added to the key. Defaults to
            None.

    Raises:
        ValueError: For any error but those that this project raises on purpose.
    """
    try:
        yield
    except Exception as error:
        if is_own_error(error) and traceback.extract_tb(error.__traceback__)[-1].line.startswith('raise'):
            raise
        text = _text(error)
        named = next((k for k, v in walk(cfg, key) if k != key and _names(text, k, v)), '')
        where, arguments = (named, '') if named else _about(error, key, cfg)
        raise ValueError(f'{where}: {type(error).__name__}: {text}{arguments}') from error


def _names(text: str, key: str, value: Any) -> bool:
    """Whether an error is about a type, or an argument."""
    name = key.rpartition('.')[2]
    if name == 'type':
        return isinstance(value, str) and f'{value} is not in the' in text
    return f"argument '{name}'" in text


def _about(error: Exception, key: str, cfg: Any) -> tuple[str, str]:
    """Key of the innermost part that was being built, and its arguments that the lines that failed read."""
    frames = list(traceback.walk_tb(error.__traceback__))
    depth, part = max(
        (
            (i, frame.f_locals['cfg'])
            for i, (frame, _) in enumerate(frames)
            if frame.f_code.co_name == 'build_from_cfg' and isinstance(frame.f_locals['cfg'], dict)
        ),
        key=lambda found: found[0],
        default=(0, None),
    )
    if part is None:
        return key, ''
    same = [(k, v) for k, v in walk(cfg, key) if isinstance(v, dict) and v.get('type') == part.get('type')]
    where = next((k for k, v in same if v == part), same[0][0] if same else key)
    lines = ' '.join(summary.line or '' for summary in traceback.extract_tb(error.__traceback__)[depth + 1 :])
    read = [f'{name}={part[name]!r}' for name in part if re.search(rf'\b{re.escape(str(name))}\b', lines)]
    return where, f' ({", ".join(read)})' if read else ''
