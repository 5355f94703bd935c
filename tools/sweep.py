"""Train configs over seeds and settings, and compare them: mean, spread, gain, cost.

    python tools/sweep.py alone=STUDENT.py kd=DISTILLED.py --seeds 0 1 2 --out work_dirs/first
    python tools/sweep.py CONFIG --set model.distiller.loss_weight=1,3,10 --result val --out work_dirs/weights
    python tools/sweep.py CONFIG --lengths 1 2 4 --out work_dirs/lengths     # schedules scaled as a whole

Each training runs in a process of its own (tools/train.py, then tools/test.py), --jobs of them at one time.
Stopped in any way, the same command goes on where it was; a training whose config or teacher has changed is
repeated. The first CONFIG is the baseline: gains over it are paired by seed, with their 95 % interval. In
--out: sweep.md, sweep.json and sweep.png, and each run below runs/, with its config as a file to run by hand.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

from entry import CfgOptions, check_config, positive, run_tool, tool_parser


class Settings(argparse.Action):
    """``KEY=A,B,C``: values to try for a key."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the values to those of other keys."""
        found = dict(getattr(namespace, self.dest) or {})
        for text in values:
            key, equals, listed = text.partition('=')
            if not key or not equals or not listed:
                parser.error(f'{option_string}: got {text!r}, expected KEY=A,B,C, without blanks around =')
            read = argparse.Namespace(values=None)
            CfgOptions([], 'values')(parser, read, [f'{key}=[{listed}]'], option_string)
            found.update(read.values)
        setattr(namespace, self.dest, found)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='configs to compare: FILE, mmseg::FILE or NAME=FILE')
    add('--out', type=Path, required=True, help='folder of all results')
    add('--seeds', type=int, nargs='+', default=[0], metavar='SEED', help='seeds (0)')
    values = 'values to try for a config key; with several keys, all combinations'
    add('--set', nargs='+', action=Settings, default={}, metavar='KEY=A,B', dest='settings', help=values)
    lengths = 'factors of the schedule: iterations, learning rate and loss schedules (1)'
    add('--lengths', type=factor, nargs='+', default=[1], metavar='FACTOR', help=lengths)
    override = 'override config keys of all runs; those of a teacher or distiller in distilled ones alone'
    add('--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE', help=override)
    add('--baseline', metavar='NAME', help='the arm over which gains are given (the first)')
    add('--metric', metavar='NAME', help='the figure to compare (the first of mIoU, coco/bbox_mAP, ...)')
    result = (
        'last: the last checkpoint on the test data of the config (default); best: the best one; val: the '
        "training's last validation, for choosing settings"
    )
    add('--result', choices=('last', 'best', 'val'), default='last', help=result)
    jobs = 'trainings at one time (one a GPU; without any, one for --threads cores)'
    add('--jobs', type=positive, help=jobs)
    add('--threads', type=positive, default=1, help='CPU threads of each training (%(default)s)')
    known = 'a sweep.json of another folder: runs of the same settings are taken from there'
    add('--known', type=Path, nargs='+', default=[], metavar='FILE', help=known)
    return parser.parse_args(argv)


def factor(text: str) -> float:
    """The type of an argument that is a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'must be a positive number. Got: {text!r}')
    return value


def read_known(path: Path) -> dict:
    """A file of ``--known``."""
    try:
        found = json.loads(path.read_text())
        if all({'key', 'metrics'} <= set(run) for run in found['runs']):
            return found
        reason = 'its runs have no key and metrics'
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f'{type(error).__name__}: {error}'
    raise ValueError(f'--known: {path} is no sweep.json of this tool ({reason}).')


def devices() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is not None:
        return [name for name in visible.split(',') if name]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def main(argv: list[str] | None = None) -> int:
    """Run the sweep as the command line says, and return the exit code: 1 if a training failed."""
    args, start = parse_args(argv), time.monotonic()
    from kd_methods.experiments.processes import clock, say, waiting_for
    from kd_methods.experiments.running import run_trials
    from kd_methods.experiments.sweep import Sweep
    from kd_methods.experiments.trials import Trial, expand
    from kd_methods.utils.parallel import check_workers

    arms = expand(args.configs, args.settings, args.lengths, args.cfg_options)
    for arm in arms:
        check_config(arm.config, arm.options)
    known, seeds = [read_known(path) for path in args.known], list(dict.fromkeys(args.seeds))
    out, test = args.out.resolve(), '' if args.result == 'val' else args.result
    trials = [Trial(arm, seed, out / 'runs', test) for seed in seeds for arm in arms]
    sweep = Sweep(trials, out, args.baseline, args.metric)
    gpus = devices()
    jobs = args.jobs or len(gpus) or max(1, check_workers(None) // args.threads)
    env = {**os.environ, **dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), str(args.threads))}
    with waiting_for(out, 'another sweep') as lock:
        for other in known:
            sweep.take(other)
        say(f'{len(arms)} arms, {len(seeds)} seeds, {jobs} at one time; results go to {args.out}')
        failed = run_trials(trials, env, jobs, gpus, lock)
        for title, problem in failed.items():
            print(f'\n{title}\n{problem}')
        if sweep.done():
            print('\n' + sweep.report(dict(jobs=jobs, threads=args.threads)))
            print(
                '\n' + '\n'.join(f'  {args.out / name}' for name in ('sweep.md', 'sweep.json', 'sweep.png'))
            )
    print(f'\nThis call took {clock(time.monotonic() - start)}.', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    run_tool(main, 'The same command goes on where this one stopped.')
