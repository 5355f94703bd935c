"""The student as a product: a file with its weights alone and a config without this package."""

import importlib
import io
import os.path as osp
from collections import OrderedDict
from pathlib import Path

import torch
from mmengine import __version__ as mmengine_version
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from kd_methods.datasets.entries import unwrap
from kd_methods.export.plain_config import plain_config, plain_metainfo
from kd_methods.export.verify import loading_problem
from kd_methods.networks import checkpoint as files
from kd_methods.networks.config import build_network, load_config
from kd_methods.utils.files import write_file

#: First lines of a written config, by the package that loads it.
CONFIG_HEADERS = dict(
    mmseg='# The trained model alone, for stock OpenMMLab tools:\n'
    '#   from mmseg.apis import inference_model, init_model\n'
    "#   model = init_model('{config}', '{weights}', device='cpu')\n",
    mmdet='# The trained model alone, for stock OpenMMLab tools:\n'
    '#   from mmdet.apis import inference_detector, init_detector\n'
    "#   model = init_detector('{config}', '{weights}', device='cpu')\n",
)


def student_checkpoint(checkpoint: dict, cfg: Config | None = None, cfg_text: str | None = None) -> dict:
    """The student's part of a full checkpoint, in tensors and plain Python values only.

    Where an EMA is kept, mmengine's checkpoints hold its weights under ``state_dict``.

    Args:
        checkpoint (dict): A full checkpoint of a distillation run, or of a plain one, which is kept whole.
        cfg (Config, optional): Plain config of the student. Its text is put into ``meta``, where mmdet's and
            mmseg's inferencers look for it, and its data set serves where the checkpoint names no classes.
        cfg_text (str, optional): The text of ``cfg``, if it was made before: formatting takes a while.

    Returns:
        dict: ``state_dict`` and ``meta`` (``dataset_meta``, versions, ``epoch`` and ``iter``).
    """
    state = files.student_state_dict(files.extract_state_dict(checkpoint))
    weights = OrderedDict((name, _alone(value)) for name, value in state.items())
    weights = files.with_versions(weights, state)
    vars(weights).pop('choice', None)  # no part of the file
    given = checkpoint.get('meta') or {}
    meta = dict(mmengine_version=mmengine_version)
    package = (cfg.get('default_scope') if cfg is not None else None) or 'mmseg'
    meta[f'{package}_version'] = str(importlib.import_module(package).__version__)
    for name in ('epoch', 'iter', 'seed', 'time', 'experiment_name'):
        if isinstance(given.get(name), (int, float, str)):
            meta[name] = given[name]
    metainfo = plain_metainfo(given.get('dataset_meta'))
    if 'classes' not in metainfo and cfg is not None:
        metainfo = {**_metainfo_of_config(cfg), **metainfo}
    if metainfo:
        meta['dataset_meta'] = metainfo
    if cfg is not None:
        meta['cfg'] = cfg_text or cfg.pretty_text
    return dict(meta=meta, state_dict=weights)


def student_name(filename: str) -> str:
    """Name of the student's file next to a full checkpoint: ``iter_8.pth`` -> ``iter_8_student.pth``."""
    stem, suffix = osp.splitext(filename)
    return f'{stem}_student{suffix or ".pth"}'


def to_bytes(checkpoint: dict) -> bytes:
    """What ``torch.save`` writes for a checkpoint."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def config_text(cfg: Config, cfg_text: str, config_name: str, weights_name: str) -> str:
    """The text of a plain config file, with a line on how to load it."""
    header = CONFIG_HEADERS.get(cfg.get('default_scope'), CONFIG_HEADERS['mmseg'])
    return header.format(config=config_name, weights=weights_name) + cfg_text


def export_student(
    cfg: str | Path | Config,
    checkpoint: str | Path | dict,
    out: str | Path,
    config_out: str | Path | None = None,
    trusted: bool = False,
    verify: bool = True,
) -> tuple[str, str]:
    """Write the student of a checkpoint and its plain config, and see whether others can load them.

    Args:
        cfg (str | Path | Config): The config of the run that wrote the checkpoint, distillation or plain.
        checkpoint (str | Path | dict): A full checkpoint or a student-only one.
        out (str | Path): File for the weights.
        config_out (str | Path, optional): File for the config. Defaults to ``out`` with the suffix ``.py``.
        trusted (bool): Unpickle everything that the checkpoint holds. Defaults to False.
        verify (bool): Load both files once in a fresh process without this package. Defaults to True.

    Returns:
        tuple[str, str]: Paths of the weights and of the config.

    Raises:
        ValueError: The weights do not fit the student of the config; or, once both files are written, stock
            mmseg / mmdet cannot load them.
    """
    cfg = cfg if isinstance(cfg, Config) else load_config(cfg, key='config')
    source = '' if isinstance(checkpoint, dict) else checkpoint
    full = checkpoint if isinstance(checkpoint, dict) else files.safe_load(checkpoint, trusted=trusted)
    files.log_choice(files.extract_state_dict(full), source or 'The checkpoint')
    config_out = str(config_out or Path(out).with_suffix('.py'))
    plain = plain_config(cfg)
    text = plain.pretty_text
    student = student_checkpoint(full, plain, text)
    # In the config's own scope, whatever ran before.
    with DefaultScope.overwrite_default_scope(plain.get('default_scope')):
        network = build_network(plain.model, key='model')
    files.load_strict(network, student['state_dict'], what='student', path=source)
    write_file(to_bytes(student), out)
    write_file(config_text(plain, text, config_out, str(out)), config_out)
    problem = loading_problem(config_out, out) if verify else ''
    if problem:
        why = 'cannot be loaded in a process without kd_methods'
        raise ValueError(f'{out} and {config_out} were written, but {why}: {problem}')
    return str(out), config_out


def _alone(value: torch.Tensor) -> torch.Tensor:
    """A tensor on the CPU that does not drag a larger storage into the file."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    larger = value.untyped_storage().nbytes() > value.numel() * value.element_size()
    return value.clone() if larger else value


def _metainfo_of_config(cfg: Config) -> dict:
    dataset = unwrap((cfg.get('test_dataloader') or {}).get('dataset') or {})
    if 'type' not in dataset:
        return {}
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        cls = registry.get(dataset['type'])
    return plain_metainfo({**getattr(cls, 'METAINFO', {}), **(dataset.get('metainfo') or {})})
