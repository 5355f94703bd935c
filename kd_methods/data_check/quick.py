"""A quick look at the data before a run: what can be seen in about a second."""

import warnings

from mmengine.config import Config

from kd_methods.data_check.findings import STOPS, WRONG
from kd_methods.data_check.look import look
from kd_methods.data_check.paths import check_places
from kd_methods.data_check.splits import Effort

SAMPLES = 4  # of each data set that are read
_MORE = '`python tools/data/check.py CONFIG` looks at every file.'


def check_datasets(cfg: Config, *splits: str) -> None:
    """Check the data of a run before anything is built.

    All folders and lists have to be there; of data sets whose listing is known, all files are looked for and
    a few are read. What is no more than doubtful, since a run could go on with it, is a warning.

    Args:
        cfg (Config): A run's config.
        *splits (str): Which of 'train', 'val', 'test' the run reads.

    Raises:
        FileNotFoundError: A folder, a list or a file of the data sets does not exist.
        ValueError: Files cannot be read, or do not fit each other or the network; COCO's metric reads other
            annotations than the data set that is tested.
    """
    check_places(cfg, *splits)
    findings = look(cfg, splits, Effort(limit=SAMPLES, workers=1, quick=True)).findings
    for finding in findings:
        if finding.level == STOPS:
            text = f'{finding.text} {_MORE}'
            raise FileNotFoundError(text) if finding.missing else ValueError(text)
    for finding in findings:
        if finding.level == WRONG:
            warnings.warn(f'{finding.text} {_MORE}', stacklevel=2)
