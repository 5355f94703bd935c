"""Test a trained network: print its metrics and keep them as JSON.

    python tools/test.py CONFIG CHECKPOINT

CONFIG is a plain config or a distillation config; CHECKPOINT a full checkpoint of either, or the
student-only file beside it (`best.pth`, `iter_N_student.pth`). Of a distillation config only the
student is built. The last line is `metrics: {...}`, in JSON; the same goes to
WORK_DIR/test_<checkpoint name>.json. With `--boundary` a segmentation config's metrics are joined by
boundary IoU and trimap mIoU (kd_methods/evaluation/boundary.py).
"""

from __future__ import annotations

import argparse
import json
import math
import os.path as osp
from pathlib import Path
from typing import TYPE_CHECKING

from entry import add_config, add_run_arguments, check_file, read_config, run_tool, tool_parser

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add_config(parser)
    add('checkpoint', help='full or student-only checkpoint')
    out = 'keep the predictions: a folder of label maps (segmentation), or a .pkl file of all predictions'
    add('--out', help=out)
    add('--show-dir', help='keep pictures of the predictions in this folder')
    tta = 'test-time augmentation: the tta_model and tta_pipeline of the config'
    add('--tta', action='store_true', help=tta)
    boundary = (
        'besides mIoU: boundary IoU and trimap mIoU, within WIDTH pixels of the boundaries '
        '(0.02 of the image diagonal where no WIDTH follows)'
    )
    add('--boundary', nargs='?', type=pixels, const=0, metavar='WIDTH', help=boundary)
    add('--trusted', action='store_true', help='unpickle all that the checkpoint holds; it may run code')
    add_run_arguments(parser)
    return parser.parse_args(argv)


def pixels(text: str) -> int:
    """The WIDTH of `--boundary`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f'WIDTH must be a positive integer, in pixels. Got: {text!r} (without a WIDTH, --boundary goes '
            'behind CONFIG and CHECKPOINT)'
        )
    return int(text)


def list_evaluators(cfg: Config) -> list[dict]:
    """The entries of `test_evaluator`."""
    evaluators = cfg.test_evaluator
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def type_name(cfg: dict) -> str:
    """Name of a `type`, without its scope; mmengine's Python-style configs have the class itself."""
    return getattr(cfg.get('type'), '__name__', str(cfg.get('type'))).split('.')[-1]


def add_boundary(cfg: Config, width: int) -> None:
    """Apply `--boundary`: the metric joins IoUMetric and leaves out the pixels that it leaves out.

    Args:
        cfg (Config): The run's config.
        width (int): WIDTH in pixels; 0 if none was given.
    """
    evaluators = list_evaluators(cfg)
    kinds = [type_name(e) for e in evaluators]
    given = dict(width=width) if width else {}
    if 'BoundaryIoUMetric' in kinds:
        evaluators[kinds.index('BoundaryIoUMetric')].update(given)
        return
    if 'IoUMetric' not in kinds:
        raise ValueError(
            '--boundary is for semantic segmentation: it goes beside IoUMetric, and test_evaluator has '
            f'{kinds}. Leave it out for a detector, whose figure is AP; for a segmentor, add '
            "dict(type='IoUMetric') to test_evaluator."
        )
    metric = evaluators[kinds.index('IoUMetric')]
    if metric.get('format_only'):
        raise ValueError(
            '--boundary: IoUMetric has format_only=True in test_evaluator, so nothing is compared with '
            'labels. Set format_only=False there and test on data with labels, or leave --boundary out.'
        )
    same = {k: metric[k] for k in ('ignore_index', 'nan_to_num', 'collect_device', 'prefix') if k in metric}
    cfg.test_evaluator = [*evaluators, dict(type='BoundaryIoUMetric', **same, **given)]


def keep_predictions(cfg: Config, out: str) -> None:
    """Apply `--out`: the metric that writes label maps, or a dump of all predictions."""
    evaluators = list_evaluators(cfg)
    if out.endswith(('.pkl', '.pickle')):
        dump = 'mmdet.DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
        cfg.test_evaluator = [*evaluators, dict(type=dump, out_file_path=out)]
        return
    writers = [
        e for e in evaluators if type_name(e).endswith('IoUMetric') and type_name(e) != 'BoundaryIoUMetric'
    ]
    if not writers:
        raise ValueError(
            f'--out {out}: only IoUMetric writes a folder of label maps, and test_evaluator has '
            f'{[type_name(e) for e in evaluators]}. Name a .pkl file to keep the predictions themselves.'
        )
    for writer in writers:
        writer['output_dir'] = out


def draw_predictions(cfg: Config, show_dir: str) -> None:
    """Apply `--show-dir` to the config's visualization hook."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if not hook:
        raise ValueError(
            '--show-dir: the config has no default_hooks.visualization; add default_hooks = '
            "dict(visualization=dict(type='SegVisualizationHook'))."
        )
    hook['draw'] = True
    if str(hook.get('type')).endswith('DetVisualizationHook'):
        hook['test_out_dir'] = osp.abspath(show_dir)
        return
    visualizer = cfg.get('visualizer')
    if not visualizer:
        raise ValueError(
            "--show-dir: the config has no visualizer; add visualizer = dict(type='SegLocalVisualizer', "
            "vis_backends=[dict(type='LocalVisBackend')])."
        )
    visualizer['save_dir'] = osp.abspath(show_dir)


def augment(cfg: Config) -> None:
    """Apply `--tta`: the test pipeline and the model are replaced by their TTA forms."""
    from kd_methods.datasets.entries import with_pipeline

    missing = [key for key in ('tta_model', 'tta_pipeline') if cfg.get(key) is None]
    if missing:
        raise ValueError(
            f'--tta: the config has no {" and no ".join(missing)}; see mmseg::_base_/datasets/cityscapes.py '
            'and mmseg::_base_/default_runtime.py for the form.'
        )
    with_pipeline(cfg.test_dataloader.dataset).pipeline = cfg.tta_pipeline
    cfg.model = dict(**cfg.tta_model, module=cfg.model)


def drop_training_hooks(cfg: Config) -> None:
    """Leave out hooks that only make sense while a run trains.

    A checkpoint of a run with EMA holds the averaged weights as its weights, so EMAHook's own copy
    is not needed either.
    """
    from mmengine.hooks import EMAHook
    from mmengine.registry import HOOKS

    def of_training(hook: dict) -> bool:
        kind = hook['type']
        kind = HOOKS.get(kind) if isinstance(kind, str) else kind
        return kind is EMAHook or getattr(kind, '__module__', '').startswith('kd_methods.hooks.')

    cfg.custom_hooks = [h for h in cfg.get('custom_hooks') or [] if not of_training(h)]


def result_name(args: argparse.Namespace) -> str:
    """Name of this test's files in the work dir."""
    return f'test_{Path(args.checkpoint.split("?")[0]).stem}' + ('_tta' if args.tta else '')


def write_metrics(args: argparse.Namespace, cfg: Config, metrics: dict) -> None:
    """Write the metrics as JSON and print them as the last line."""
    values = {}
    for name, value in metrics.items():
        value = round(float(value), 4)
        values[name] = value if math.isfinite(value) else None  # JSON has no nan
    path = Path(cfg.work_dir) / f'{result_name(args)}.json'
    record = dict(config=args.config, checkpoint=args.checkpoint, tta=args.tta, metrics=values)
    path.write_text(json.dumps(record, indent=2) + '\n')
    print(f'Metrics are in {path}')
    print(f'metrics: {json.dumps(values)}', flush=True)


def main(argv: list[str] | None = None) -> dict:
    """Test as the command line says.

    Args:
        argv (list[str], optional): Arguments; the process's own if None. Defaults to None.

    Returns:
        dict: The metrics.
    """
    args = parse_args(argv)
    check_file(args.checkpoint, 'checkpoint')
    cfg = read_config(args)
    from mmengine.dist import is_main_process
    from mmengine.model import is_model_wrapper
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from kd_methods.data_check.look import check_datasets
    from kd_methods.engine.config_values import check_values
    from kd_methods.engine.launch import fit_to_device, init_distributed
    from kd_methods.export.student_config import student_config
    from kd_methods.networks.checkpoint import extract_state_dict, load_strict, safe_load, student_state_dict

    cfg = student_config(cfg)
    for key in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        if cfg.get(key) is None:
            raise ValueError(f'CONFIG: {args.config} has no `{key}`, which testing needs.')
    check_values(cfg, 'test')
    content = safe_load(
        args.checkpoint, trusted=args.trusted
    )  # a mistake in it is told before anything is built
    check_datasets(cfg, 'test')
    cfg.load_from, cfg.resume = None, False
    # The Runner keeps the config it ran in the work dir by this name: not over the training's.
    object.__setattr__(cfg, '_filename', f'{result_name(args)}.py')
    drop_training_hooks(cfg)
    if args.boundary is not None:
        add_boundary(cfg, args.boundary)
    if args.out:
        keep_predictions(cfg, args.out)
    if args.show_dir:
        draw_predictions(cfg, args.show_dir)
    if args.tta:
        augment(cfg)
    fit_to_device(cfg)
    init_distributed(cfg.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    weights = student_state_dict(extract_state_dict(content))
    report = load_strict(model.module if args.tta else model, weights, 'network', args.checkpoint)
    runner.logger.info(f'Loaded {args.checkpoint}: {report}')
    try:
        metrics = runner.test()
    except KeyError as error:
        if error.args != ('gt_sem_seg',):
            raise
        raise ValueError(
            'test_dataloader: the images come without labels (gt_sem_seg), which test_evaluator compares '
            "the predictions with. Add dict(type='LoadAnnotations') to the test pipeline, or set "
            'test_evaluator.format_only=True, test_evaluator.output_dir=DIR to write predictions only.'
        ) from error
    if is_main_process():
        write_metrics(args, cfg, metrics)
    return metrics


if __name__ == '__main__':
    run_tool(main)
