"""What the tests of the data check share."""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from raw_segmentation import config, data_set, write_split

from kd_methods.data_check.look import check_datasets
from kd_methods.data_check.page import check_data


@pytest.fixture
def small(tmp_path) -> SimpleNamespace:
    """A good data set of 6 and 3 pairs: `.root`, `.cfg`, `.train` and `.val` (its data sets' configs)."""
    write_split(tmp_path, 'train', 6)
    write_split(tmp_path, 'val', 3)
    cfg = config(data_set(tmp_path, 'train'), data_set(tmp_path, 'val'))
    return SimpleNamespace(
        root=Path(tmp_path), cfg=cfg, train=cfg.train_dataloader.dataset, val=cfg.val_dataloader.dataset
    )


@pytest.fixture
def wrong() -> Callable[[Config], list[str]]:
    """What the whole check says is wrong, a sentence each."""
    return lambda cfg: check_data(cfg, 'CONFIG', ('train', 'val', 'test'), workers=1).wrong


@pytest.fixture
def notes() -> Callable[[Config], list[str]]:
    """What the whole check notes."""
    return lambda cfg: check_data(cfg, 'CONFIG', ('train', 'val', 'test'), workers=1).notes


@pytest.fixture
def quick() -> Callable[[Config], str]:
    """What the quick look before a run says: '' nothing, 'refused: ...' or 'warned: ...'."""

    def look(cfg: Config) -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            try:
                check_datasets(cfg, 'train', 'val')
            except (ValueError, FileNotFoundError) as error:
                return f'refused: {error}'
        ours = [str(w.message) for w in caught if 'tools/data/check.py' in str(w.message)]
        return f'warned: {" ".join(ours)}' if ours else ''

    return look
