"""Train a config: a distillation run, or a plain network alone.

    python tools/train.py configs/i2ckd/i2ckd_pspnet_r18_pspnet_r18-w16_scenes.py
    python tools/train.py CONFIG --resume       # go on with the work dir's latest checkpoint
    python tools/train.py CONFIG --cfg-options model.distiller.loss_weight=0.5

Several processes: tools/dist_train.sh (one or more machines), tools/slurm_train.sh.
"""

from __future__ import annotations

import argparse
import glob
import os.path as osp
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

from mmengine.config import Config  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

import kd_methods  # noqa: E402, F401  before any config is read
from kd_methods.data_check.look import check_datasets  # noqa: E402
from kd_methods.engine.cli import add_run_arguments, read_config, run_tool
from kd_methods.engine.config_values import check_values  # noqa: E402
from kd_methods.engine.launch import enable_amp, fit_to_device, init_distributed  # noqa: E402
from kd_methods.engine.runner import WholeRunner  # noqa: E402
from kd_methods.engine.work_dir import claim  # noqa: E402
from kd_methods.hooks import ensure_hooks  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Train a config: a distillation run, or a plain network alone.'
    )
    parser.add_argument('config', help='config file (or mmseg::..., mmdet::...)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on with a run: from this full checkpoint, or from the latest of the work dir '
        '(no value, or auto)',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 with a dynamic loss scale on GPU, bfloat16 on CPU',
    )
    parser.add_argument('--seed', type=int, help="seed of the run (default: the config's)")
    add_run_arguments(parser)
    return parser.parse_args(argv)


def set_resume(cfg: Config, resume: str | None) -> None:
    """Apply `--resume`."""
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
    if not cfg.get('resume') or cfg.get('load_from'):
        return
    stem = Path(cfg.filename).stem
    if not glob.glob(osp.join(glob.escape(cfg.work_dir), '*.pth')):
        print(f'--resume: {cfg.work_dir} has no checkpoint yet: training starts at the beginning.')
    elif not osp.exists(osp.join(cfg.work_dir, f'{stem}.py')):
        raise ValueError(
            f'--resume: {cfg.work_dir} holds the run of another config (there is no {stem}.py in it). Give '
            'another --work-dir, or name the checkpoint: --resume FILE.'
        )


def main(argv: list[str] | None = None) -> Runner:
    """Train as the command line says.

    Args:
        argv (list[str], optional): Arguments; the process's own if None. Defaults to None.

    Returns:
        Runner: After training.
    """
    args = parse_args(argv)
    cfg = read_config(args)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if cfg.get(key) is None:
            raise ValueError(
                f'CONFIG: {args.config} has no `{key}`, which training needs; inherit a dataset and a '
                'schedule with _base_.'
            )
    check_values(cfg, 'train', 'val')
    if args.amp:
        enable_amp(cfg)
    if args.seed is not None:
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': args.seed}
    check_datasets(cfg, 'train', 'val')
    claim(cfg)
    set_resume(cfg, args.resume)
    ensure_hooks(cfg)
    fit_to_device(cfg)
    init_distributed(cfg.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else WholeRunner.from_cfg(cfg)
    runner.train()
    return runner


if __name__ == '__main__':
    run_tool(main, 'Add --resume to the same command to go on from the last checkpoint.')
