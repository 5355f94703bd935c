"""The demo's comparison: which networks are trained, by which stages, and what is reported of them."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from demo_parts import pictures, results
from demo_parts.stages import Stage, run_process, say
from kd_methods.check.networks import count_flops, parameter_count, plain_network
from kd_methods.export.student_config import student_config
from kd_methods.networks.config import is_distillation, load_config, resolve_model_cfg
from kd_methods.scenes.writer import RECORD
from kd_methods.utils.files import write_file
from kd_methods.utils.paths import REPO_ROOT
from kd_methods.utils.report import number, table

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
        'verify_export': False,
    }
    part = iterations / cfg.train_cfg.max_iters
    for i, scheduler in enumerate(cfg.param_scheduler):
        for key in ('begin', 'end', 'T_max', 'total_steps'):
            if scheduler.get(key):
                options[f'param_scheduler.{i}.{key}'] = max(1, round(scheduler[key] * part))
    for network in ('architecture.', 'teacher.') if is_distillation(cfg) else ('',):
        options[f'model.{network}data_preprocessor.size'] = (size, size)
    return options


def shown(path: Path) -> str:
    """A path as it is typed from here."""
    typed = os.path.relpath(path)
    return str(path) if typed.startswith('..') else typed


class Demo:
    """All stages of the demo, and where they are kept.

    Args:
        args (Namespace): Of the command line.
        root (Path): Folder of all results.
    """

    def __init__(self, args: argparse.Namespace, root: Path) -> None:
        self.args, self.root = args, root
        own = root / 'scenes' if args.quick else REPO_ROOT / load_config(TEACHER.config).data_root
        self.data = args.data.resolve() if args.data else own
        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
        self.threads = args.threads or int(os.environ.get('OMP_NUM_THREADS') or min(cores, 8))
        threads = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), str(self.threads))
        self.env = {**os.environ, **threads}
        what = f'{args.seeds * len(ARMS)} trainings with {self.threads} threads'
        say(f'demo: {what}; results go to {shown(root)}. Ctrl-C stops, the same command goes on.')
        self.scenes = self.write_scenes()

    def write_scenes(self) -> dict:
        """Write the scenes unless they are there; returns what they were made from."""
        say(f'scenes: {shown(self.data)}')
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
            print(f'  {shown(self.root / name)}')
        return found
