"""The demo: does a student learn better with a teacher? On sign scenes, on a CPU, with no download.

    python tools/demo.py              # teacher, student alone, student with I2CKD: table and pictures
    python tools/demo.py --seeds 3    # the same comparison over three seeds (three times as long)

It writes the scenes, trains the three networks with tools/train.py and the shipped configs, tests them with
tools/test.py, and leaves in work_dirs/demo: results.md, results.json, predictions.png, curves.png, and each
run under seed_K/. Stopped (Ctrl-C), it goes on where it was when it is called again; a run whose config has
changed since is repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]  # this checkout, installed or not

from entry import run_tool  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    what, more = __doc__.split('\n\n', 1)
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=what, epilog=more, formatter_class=raw)
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='run seeds 0 to N-1 (%(default)s)')
    parser.add_argument('--work-dir', type=Path, help='folder of all results (work_dirs/demo)')
    parser.add_argument('--data', type=Path, help="folder of the scenes (the configs': data/scenes)")
    quick = (
        'a few steps on a few tiny scenes, which teach nothing, in work_dirs/demo-quick: tries the machinery'
    )
    parser.add_argument('--quick', action='store_true', help=quick)
    threads = 'threads of a training (OMP_NUM_THREADS, else the cores, at most 8)'
    parser.add_argument('--threads', type=int, help=threads)
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f'--seeds: got {args.seeds}, expected 1 or more')
    return args


if __name__ == '__main__':
    parse_args()  # --help, and mistakes of the command line, before torch is imported

import torch  # noqa: E402
from demo_parts import pictures, results  # noqa: E402
from demo_parts.stages import Stage, StageError, clock, run_process, say  # noqa: E402
from mmengine.config import Config  # noqa: E402

import kd_methods  # noqa: E402, F401  before any config is read
from kd_methods.check.networks import count_flops, parameter_count, plain_network  # noqa: E402
from kd_methods.export.student_config import student_config  # noqa: E402
from kd_methods.networks.config import is_distillation, load_config, resolve_model_cfg  # noqa: E402
from kd_methods.scenes.writer import RECORD  # noqa: E402
from kd_methods.utils.files import exclusive_folder, write_file  # noqa: E402
from kd_methods.utils.report import number, table  # noqa: E402

QUICK_SCENES = dict(train=16, val=4, size=32)
QUICK_ITERATIONS = 4


class Arm(NamedTuple):
    """One of the networks that are compared."""

    name: str
    title: str
    config: str


TEACHER = Arm('teacher', 'teacher', 'configs/baselines/pspnet_r18_scenes.py')
ARMS = (
    TEACHER,
    Arm('alone', 'student alone', 'configs/baselines/pspnet_r18-w16_scenes.py'),
    Arm('i2ckd', 'student with I2CKD', 'configs/i2ckd/i2ckd_pspnet_r18_pspnet_r18-w16_scenes.py'),
)


def run_config(arm: Arm, options: dict[str, Any]) -> Config:
    """An arm's config with a run's overrides; in a distillation config, both networks as full model dicts."""
    cfg = load_config(arm.config, 'CONFIG')
    cfg.merge_from_dict(options)
    if is_distillation(cfg):
        for key in ('architecture', 'teacher'):
            cfg.model[key] = resolve_model_cfg(cfg.model[key], f'model.{key}')
    return cfg


def quick_options(cfg: Config) -> dict[str, Any]:
    """Overrides that turn a config's schedule and preprocessing into tiny ones."""
    iterations, size = QUICK_ITERATIONS, QUICK_SCENES['size']
    options: dict[str, Any] = {
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': iterations // 2,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': iterations // 2,
        'train_dataloader.batch_size': 4,
    }
    part = iterations / cfg.train_cfg.max_iters
    for i, scheduler in enumerate(cfg.param_scheduler):
        for key in ('begin', 'end', 'T_max', 'total_steps'):
            if scheduler.get(key):
                options[f'param_scheduler.{i}.{key}'] = max(1, round(scheduler[key] * part))
    for network in ('architecture.', 'teacher.') if is_distillation(cfg) else ('',):
        options[f'model.{network}data_preprocessor.size'] = (size, size)
    return options


class Demo:
    """All stages of the demo, and where they are kept.

    Args:
        args (Namespace): Of `parse_args`.
        root (Path): Folder of all results.
    """

    def __init__(self, args: argparse.Namespace, root: Path) -> None:
        self.args, self.root = args, root
        own = root / 'scenes' if args.quick else ROOT / load_config(TEACHER.config).data_root
        self.data = args.data.resolve() if args.data else own
        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
        self.threads = args.threads or int(os.environ.get('OMP_NUM_THREADS') or min(cores, 8))
        threads = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), str(self.threads))
        self.env = {**os.environ, **threads}
        what = f'{args.seeds * len(ARMS)} trainings with {self.threads} threads'
        say(f'demo: {what}; results go to {_shown(root)}. Ctrl-C stops, the same command goes on.')
        self.scenes = self.write_scenes()

    def write_scenes(self) -> dict:
        """Write the scenes unless they are there; returns what they were made from."""
        say(f'scenes: {_shown(self.data)}')
        sizes = [f'--{name}={value}' for name, value in QUICK_SCENES.items()] if self.args.quick else []
        command = ['tools/data/make_scenes.py', '--out', self.data, *sizes]
        run_process('write scenes', command, self.env, self.root / 'scenes.txt')
        record = json.loads((self.data / RECORD).read_text())
        say(f'scenes: {record["train"]} to train and {record["val"]} to validate')
        return record

    def folder(self, arm: Arm, seed: int) -> Path:
        """Work dir of a run."""
        return self.root / f'seed_{seed}' / arm.name

    def options(self, arm: Arm, seed: int) -> dict[str, Any]:
        """Overrides of an arm's config: where the data is, the seed, a finer log."""
        options = {'randomness.seed': seed, 'default_hooks.logger.interval': 10}
        options |= {
            f'{split}_dataloader.dataset.data_root': str(self.data) for split in ('train', 'val', 'test')
        }
        return options | (quick_options(load_config(arm.config)) if self.args.quick else {})

    def stages(self, arm: Arm, seed: int) -> tuple[Stage, Stage]:
        """Training and test of a run, which depend on the config, the scenes and the teacher's training."""
        folder, options = self.folder(arm, seed), self.options(arm, seed)
        cfg, teacher = run_config(arm, options), None
        if is_distillation(cfg):
            teacher = self.stages(TEACHER, seed)[0].key
            options['model.teacher_ckpt'] = self.folder(TEACHER, seed) / 'best.pth'
        settings = json.dumps([cfg.to_dict(), self.scenes, teacher], sort_keys=True, default=str)
        key = hashlib.sha256(settings.encode()).hexdigest()[:16]
        size = {k: f'({v[0]},{v[1]})' for k, v in options.items() if isinstance(v, tuple)}
        overrides = ['--cfg-options', *(f'{k}={v}' for k, v in (options | size).items())]
        train = ['tools/train.py', arm.config, '--work-dir', folder, *overrides]
        test = ['tools/test.py', arm.config, folder / 'best.pth', '--work-dir', folder / 'test', *overrides]
        test += ['--out', folder / 'test' / 'predictions']
        place = f'[{seed * len(ARMS) + ARMS.index(arm) + 1}/{self.args.seeds * len(ARMS)}] '
        place += f'seed {seed}, ' * (self.args.seeds > 1)
        return (
            Stage(f'{place}train {arm.title}', folder, key, train, 'best.pth'),
            Stage(f'{place}test {arm.title}', folder / 'test', key, test, 'test_best.json'),
        )

    def is_finished(self, seed: int) -> bool:
        """Whether all runs of a seed are there, made with the present configs."""
        return all(stage.is_done() for arm in ARMS for stage in self.stages(arm, seed))

    def networks(self) -> dict[str, dict]:
        """Title, config and cost of each arm's network (of a student: without its teacher)."""
        arms = {}
        for arm in ARMS:
            cfg = student_config(run_config(arm, self.options(arm, 0)))
            network = plain_network({'_scope_': cfg.default_scope, **cfg.model}, arm.name)
            flops = count_flops(network, (self.scenes['size'],) * 2)[0]
            parameters = parameter_count(network)
            arms[arm.name] = dict(title=arm.title, config=arm.config, parameters=parameters, flops=flops)
        return arms

    def measured(self, arm: Arm, seed: int) -> dict:
        """What one run has given, in plain values."""
        folder, training = self.folder(arm, seed), self.stages(arm, seed)[0]
        seconds = results.read_training(folder).seconds_per_iteration
        return dict(
            arm=arm.name,
            seed=seed,
            **json.loads((folder / 'test' / 'test_best.json').read_text())['metrics'],
            iterations=run_config(arm, self.options(arm, seed)).train_cfg.max_iters,
            seconds_per_iteration=None if seconds is None else round(seconds, 4),
            seconds=training.marker()['seconds'],
            checkpoint=str((folder / 'best.pth').relative_to(self.root)),
        )

    def draw(self, runs: list[dict], seeds: list[int]) -> None:
        """Draw both pictures."""
        maps = {}
        for arm, run in zip(ARMS, runs):  # of the first seed
            maps[f'{arm.title}\nmIoU {number(run["mIoU"], ".1f")}'] = (
                self.folder(arm, 0) / 'test' / 'predictions'
            )
        pictures.draw_predictions(self.root / 'predictions.png', self.data, maps)
        logs = {arm.title: [results.read_training(self.folder(arm, seed)) for seed in seeds] for arm in ARMS}
        pictures.draw_curves(self.root / 'curves.png', logs)

    def run(self) -> dict:
        """Run all that is not there yet, then report."""
        arms = self.networks()
        for seed in range(self.args.seeds):
            for arm in ARMS:
                for stage in self.stages(arm, seed):
                    stage.run(self.env)
        seeds = list(range(self.args.seeds))
        while self.is_finished(len(seeds)):  # by an earlier call
            seeds.append(len(seeds))
        runs = [self.measured(arm, seed) for seed in seeds for arm in ARMS]
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        versions = dict(python=platform.python_version(), torch=torch.__version__)
        found = dict(
            quick=self.args.quick,
            input_size=self.scenes['size'],
            scenes=self.scenes,
            machine=dict(cores=os.cpu_count(), threads=self.threads, device=device, **versions),
            arms=arms,
            runs=runs,
            summary=results.summarize(runs),
        )
        write_file(json.dumps(found, indent=2) + '\n', self.root / 'results.json')
        say('drawing the pictures')
        self.draw(runs, seeds)
        tables = [rows for rows in (results.comparison(found), results.over_seeds(found)) if rows]
        write_file('\n\n'.join(map(results.as_markdown, tables)) + '\n', self.root / 'results.md')
        for head, *rows in tables:
            print('\n' + table(rows, head, right=range(1, len(head)), rule=True))
        print('\n--quick: these figures are of networks that have learnt nothing.' * self.args.quick + '\n')
        for name in ('predictions.png', 'curves.png', 'results.md', 'results.json'):
            print(f'  {_shown(self.root / name)}')
        return found


def _shown(path: Path) -> str:
    """A path as it is typed from here."""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith('..') else shown


def main(argv: list[str] | None = None) -> dict:
    """Run the demo as the command line says and return its results."""
    args, start = parse_args(argv), time.monotonic()
    warnings.filterwarnings('ignore', message='Default ``avg_non_ignore`` is False')
    root = (args.work_dir or ROOT / 'work_dirs' / ('demo-quick' if args.quick else 'demo')).resolve()
    busy = f'--work-dir: another demo is at work in {_shown(root)}; wait for it, or end it.'
    with exclusive_folder(root, busy) as lock:
        os.set_inheritable(lock, True)  # for the processes that it starts
        found = Demo(args, root).run()
    print(f'\nThis call took {clock(time.monotonic() - start)}.', flush=True)
    return found


def run_from_shell() -> None:
    """Run the demo; a failed stage ends in its last lines instead of this process's traceback."""
    try:
        main()
    except StageError as error:
        sys.exit(f'demo.py: {error}')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end stops the training too
    run_tool(run_from_shell, 'The same command goes on where this one stopped.')
