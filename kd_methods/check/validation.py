"""One image of the validation, predicted."""

import copy
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel

from kd_methods.check.batch import in_process
from kd_methods.data_check.paths import check_paths
from kd_methods.utils.errors import is_own_error, naming


def judge_validation(cfg: Config, model: BaseModel, network: BaseModel, seed: int = 0) -> list[str]:
    """Predict the first image of a config's validation, and say so where that fails.

    Args:
        cfg (Config): A whole config.
        model (BaseModel): What is trained; it is left in eval mode.
        network (BaseModel): The network that predicts: itself, or the student.
        seed (int): Seed of the loader. Defaults to 0.
    """
    if not isinstance(cfg.get('val_dataloader'), dict):
        return []
    try:
        check_paths(cfg, 'val')
        with naming('val_dataloader', cfg.val_dataloader):
            batch = next(iter(in_process(cfg.val_dataloader, seed, batch_size=1)))
    except (ValueError, FileNotFoundError) as error:
        return [str(error)]
    error = _predict(model, batch)
    if error is None:
        return []
    text = str(error.args[0] if error.args else error).strip()
    if is_own_error(error):
        return [f'val_dataloader: {text}']
    test_cfg, hint = getattr(network, 'test_cfg', None), ''
    if isinstance(test_cfg, dict) and test_cfg.get('mode') == 'slide':
        network.test_cfg = ConfigDict(test_cfg, mode='whole')
        works = _predict(model, batch) is None
        network.test_cfg = test_cfg
        key = 'model' if network is model else 'model.architecture'
        hint = f" Set {key}.test_cfg.mode='whole', with which it works; it is 'slide'." if works else ''
    found = f'{type(error).__name__}: {text or "(no message)"}'
    return [f'The validation fails on its first image ({type(network).__name__}) with {found}.{hint}']


def _predict(model: BaseModel, batch: Any) -> Exception | None:
    """The error of a prediction; None without one."""
    model.eval()
    try:
        with torch.no_grad():
            model.val_step(copy.deepcopy(batch))
    except Exception as error:
        return error
    return None
