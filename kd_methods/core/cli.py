"""What the command-line tools share: arguments, reading a config, early checks, short errors."""
from __future__ import annotations

import argparse
import os
import os.path as osp
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from kd_methods.core.launch import LAUNCHERS, close_distributed
from kd_methods.core.networks import REPO_ROOT, load_config

# Whose mistakes are reported in one line: errors that this project raises on purpose.
_USER_ERRORS = (ValueError, KeyError, TypeError, FileNotFoundError, FloatingPointError)

# Warnings that every run of the stack gives, whatever its config says: nothing to act on.
_NOISE = (
    r'Default ``avg_non_ignore`` is False',
    r'The draw is False, it means that the hook for visualization',
    r'`broadcast_buffers` is deprecated',
)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every tool which runs a config takes."""
    parser.add_argument('--work-dir', help='where logs and results go; work_dirs/<config name> '
                        'where neither this nor the config says')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override config keys: a.b=1 list=[1,2] nested="[(a,b),(c,d)]" (no blanks around =)')
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none',
                        help='what started this process (default: none, a single process)')
    # torch.distributed.launch passes one spelling up to torch 1.x and the other from 2.0 on.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help='rank within the node; given by the launcher')


def read_config(args: argparse.Namespace) -> Config:
    """Read a run's config and put the command line's overrides into it.

    Args:
        args (Namespace): With `config` and what `add_run_arguments` adds.

    Returns:
        Config: With `launcher` and `work_dir` set.
    """
    for message in _NOISE:
        warnings.filterwarnings('ignore', message=message)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = load_config(args.config, 'CONFIG')
    except SyntaxError as error:
        raise ValueError(f'CONFIG: {args.config} is not valid Python: {error}') from error
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if not isinstance(cfg.get('model'), dict):
        raise ValueError(f'CONFIG: {args.config} has no `model`; is it a base file '
                         '(configs/_base_/...) rather than a whole config?')
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', Path(args.config).stem)
    return cfg


def check_datasets(cfg: Config, *splits: str) -> None:
    """Check that the data is there before anything is built.

    Args:
        cfg (Config): A run's config.
        *splits (str): Which of 'train', 'val', 'test' the run reads.

    Raises:
        FileNotFoundError: A folder or list file that the config names does not exist.
        ValueError: COCO's metric reads other annotations than the data set that is tested.
    """
    for split in splits:
        for loader in _as_list(cfg.get(f'{split}_dataloader')):
            key = f'{split}_dataloader.dataset'
            for dataset in _leaf_datasets(loader.get('dataset')):
                for path in _local_paths(dataset):
                    if not osp.exists(path):
                        raise FileNotFoundError(_no_data(key, path, dataset))
            if split != 'train':
                _check_annotations(cfg, split, list(_leaf_datasets(loader.get('dataset'))))


def _no_data(key: str, path: str, dataset: dict) -> str:
    root = dataset.get('data_root')
    kind, name = str(dataset.get('type')), Path(root or '').name
    if kind.endswith('SceneDataset') or kind.endswith('CocoDataset') and name == 'scenes_coco':
        cure = f'Write the scenes first: {scenes_command(root or "DIR")}'
    else:
        cure = 'data/README.md says how to prepare each dataset'
    where = f' (data_root={root!r})' if root else ''
    return (f'{key}: {dataset.get("type")} finds no {path!r}{where} from {os.getcwd()}. {cure}; '
            f'or name the right place with --cfg-options {key}.data_root=DIR.')


def _check_annotations(cfg: Config, split: str, datasets: list[dict]) -> None:
    """Refuse AP against other annotations than those of the data: a metric's file does not move with ``data_root``."""
    if len(datasets) != 1 or not isinstance(datasets[0].get('ann_file'), str):
        return
    own = osp.join(datasets[0].get('data_root') or '', datasets[0]['ann_file'])
    for metric in _as_list(cfg.get(f'{split}_evaluator')):
        given = metric.get('ann_file') if str(metric.get('type')).endswith('CocoMetric') else None
        if given and '://' not in own + given and osp.realpath(given) != osp.realpath(own):
            raise ValueError(f'{split}_evaluator.ann_file: {given!r} is not what the data set reads, {own!r} '
                             f'({split}_dataloader.dataset), so AP would be that of other annotations. Set both: --cfg-options '
                             f'{split}_evaluator.ann_file={own}')


def scenes_command(root: str) -> str:
    """The command that writes the sign scenes which the shipped configs expect in a directory."""
    name = Path(root).name
    options = ' --depth --camouflage 0.5' if 'rgbd' in name else ' --format coco' if name == 'scenes_coco' else ''
    return f'python tools/data/make_scenes.py --out {root}{options}'


def _leaf_datasets(dataset: Any) -> Iterator[dict]:
    """The datasets inside RepeatDataset, ConcatDataset, MultiImageMixDataset, ..."""
    if not isinstance(dataset, dict):
        return
    inner = _as_list(dataset.get('dataset')) + _as_list(dataset.get('datasets'))
    if not inner:
        yield dataset
    for entry in inner:
        yield from _leaf_datasets(entry)


def _local_paths(dataset: dict) -> Iterator[str]:
    root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix') or {}
    prefixes = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
    for part in [''] + prefixes + [dataset.get('ann_file')]:
        if not isinstance(part, str):
            continue
        path = osp.join(root, part).rstrip('/') if part else root
        if path and '://' not in path and ':' not in path.split('/')[0]:
            yield path


def _as_list(value: Any) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def run_tool(main: Callable[[], None], on_interrupt: str = '') -> None:
    """Run a tool's `main` and end the process with an exit code and a readable last line.

    A mistake that this project itself reports (config, data, checkpoint) ends in its sentence
    alone; KD_DEBUG=1 in the environment shows the traceback. Anything else keeps its traceback.

    Args:
        main (Callable): The tool.
        on_interrupt (str): What to say after Ctrl-C. Defaults to ''.
    """
    rank = os.environ.get('RANK') or os.environ.get('SLURM_PROCID')
    name = Path(sys.argv[0]).name + (f' (rank {rank})' if rank else '')
    try:
        main()
        close_distributed()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun passes on what the terminal sent
        if rank in (None, '0'):
            print(f'\n{name}: interrupted. {on_interrupt}', file=sys.stderr)
        sys.exit(130)
    except _USER_ERRORS as error:
        if os.environ.get('KD_DEBUG', '0') not in ('', '0') or not _raised_here(error):
            raise
        # str(KeyError) would put the sentence in quotes
        message = error.args[0] if len(error.args) == 1 else error
        print(f'{name}: {message}\n(KD_DEBUG=1 shows where this was raised)', file=sys.stderr)
        sys.exit(1)


def _raised_here(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    ours = (str(REPO_ROOT / 'kd_methods') + os.sep, str(REPO_ROOT / 'tools') + os.sep)
    return bool(frames) and osp.abspath(frames[-1].filename).startswith(ours)
