"""Which errors are ours to report in a sentence."""

import os
import os.path as osp
import traceback
from concurrent.futures import BrokenExecutor

from kd_methods.utils.paths import REPO_ROOT

# Whose mistakes are reported in one line: errors that this project raises on purpose.
USER_ERRORS = (ValueError, KeyError, TypeError, FileNotFoundError, FloatingPointError, BrokenExecutor)


def error_sentence(error: Exception) -> str:
    """The text of an error for a terminal."""
    # str(KeyError) would put the sentence in quotes
    return f'{error.args[0] if len(error.args) == 1 else error}\n(KD_DEBUG=1 shows where this was raised)'


def is_own_error(error: BaseException) -> bool:
    """Whether this project itself raised an error, as opposed to a package below it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = (str(REPO_ROOT / 'kd_methods') + os.sep, str(REPO_ROOT / 'tools') + os.sep)
    return bool(frames) and osp.abspath(frames[-1].filename).startswith(ours)
