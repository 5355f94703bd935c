"""Which errors are ours to report in a sentence."""

import os
import os.path as osp
import traceback

from kd_methods.utils.paths import REPO_ROOT


def is_own_error(error: BaseException) -> bool:
    """Whether this project itself raised an error, as opposed to a package below it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = (str(REPO_ROOT / 'kd_methods') + os.sep, str(REPO_ROOT / 'tools') + os.sep)
    return bool(frames) and osp.abspath(frames[-1].filename).startswith(ours)
