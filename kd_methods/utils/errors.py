"""Which errors are ours to report in a sentence."""

import os
import os.path as osp
import traceback
from concurrent.futures import BrokenExecutor

from kd_methods.utils.paths import REPO_ROOT

# Whose mistakes are reported in one line: errors that this project raises on purpose.
USER_ERRORS = (ValueError, KeyError, TypeError, FileNotFoundError, FloatingPointError, BrokenExecutor)


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


def error_sentence(error: Exception) -> str:
    """The text of an error for a terminal."""
    # str(KeyError) would put the sentence in quotes
    return f'{error.args[0] if len(error.args) == 1 else error}\n(KD_DEBUG=1 shows where this was raised)'


def is_own_error(error: BaseException) -> bool:
    """Whether this project itself raised an error, as opposed to a package below it."""
    if isinstance(error, SampleError):  # torch raises it again
        return True
    frames = traceback.extract_tb(error.__traceback__)
    ours = (str(REPO_ROOT / 'kd_methods') + os.sep, str(REPO_ROOT / 'tools') + os.sep)
    return bool(frames) and osp.abspath(frames[-1].filename).startswith(ours)
