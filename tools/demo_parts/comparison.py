"""The demo's comparison: which networks are trained, on what, and what is reported of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from demo_parts.predictions import draw_predictions
from kd_methods.check.networks import count_flops, parameter_count, plain_network
from kd_methods.datasets.entries import Entry, entries_of
from kd_methods.experiments.logs import read_training
from kd_methods.experiments.pictures import draw_curves
from kd_methods.experiments.processes import say
from kd_methods.experiments.running import run_trials
from kd_methods.experiments.summary import Row, as_markdown, summarize, trials
from kd_methods.experiments.trials import Arm, Trial, scale_schedule
from kd_methods.export.student_config import student_config
from kd_methods.networks.config import is_distillation, load_config
from kd_methods.scenes.writer import RECORD, write_scenes
from kd_methods.utils.files import write_file
from kd_methods.utils.parallel import check_workers
from kd_methods.utils.paths import REPO_ROOT
from kd_methods.utils.report import count, number, table

CONFIGS = dict(
    teacher='configs/baselines/pspnet_r18_scenes.py',
    alone='configs/baselines/pspnet_r18-w16_scenes60.py',
    longer='configs/baselines/pspnet_r18-w16_scenes60.py',
    logit_kd='configs/logit_kd/logit-kd_pspnet_r18_pspnet_r18-w16_scenes60.py',
)
LENGTHS = dict(longer=2)  # factors of the schedule
TITLES = dict(
    teacher='teacher', alone='student alone', longer='alone, twice as long', logit_kd='student with logit KD'
)
EVERY = 10.0  # seconds between two lines of progress
QUICK_SCENES = dict(train=16, val=4, size=32)
QUICK_ITERATIONS = 4


def quick_options(config: str) -> dict[str, Any]:
    """Overrides that turn a config's schedule and preprocessing into tiny ones."""
    cfg, size = load_config(config), QUICK_SCENES['size']
    few = {f'{entry.key}.indices': 4 for entry in data_sets(cfg) if 'indices' in entry.cfg}
    share = {'train_dataloader.sampler.counts': (1, 3)} if 'counts' in cfg.train_dataloader.sampler else {}
    scale_schedule(cfg, QUICK_ITERATIONS / cfg.train_cfg.max_iters)
    options: dict[str, Any] = {
        **few,
        **share,
        'train_cfg.max_iters': QUICK_ITERATIONS,
        'train_cfg.val_interval': QUICK_ITERATIONS // 2,
        'param_scheduler': cfg.param_scheduler,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': QUICK_ITERATIONS // 2,
        'train_dataloader.batch_size': 4,
        'verify_export': False,
    }
    for network in ('architecture.', 'teacher.') if is_distillation(cfg) else ('',):
        options[f'model.{network}data_preprocessor.size'] = (size, size)
    return options


def data_sets(cfg: Config, *splits: str) -> list[Entry]:
    """The data sets of some splits, by default of the training, without the wrappers around them."""
    found = [entries for split in splits or ('train',) for entries in entries_of(cfg, split)]
    return [entry for entries in found for entry in entries]


def shown(path: Path) -> str:
    """A path as it is typed from here."""
    typed = os.path.relpath(path)
    return str(path) if typed.startswith('..') else typed


class Demo:
    """All trials of the demo, and where they are kept.

    Args:
        args (Namespace): Of the command line.
        root (Path): Folder of all results, which is this process's own.
        lock (int): What holds it, for the processes that are started.
    """

    def __init__(self, args: argparse.Namespace, root: Path, lock: int) -> None:
        self.args, self.root, self.lock = args, root, lock
        own = root / 'scenes' if args.quick else REPO_ROOT / load_config(CONFIGS['teacher']).data_root
        self.data = args.data.resolve() if args.data else own
        given = args.threads or int(os.environ.get('OMP_NUM_THREADS') or 0)
        self.threads = given or min(check_workers(None), 8)
        threads = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), str(self.threads))
        self.env = {**os.environ, **threads}
        what = f'{args.seeds * len(CONFIGS)} trainings with {self.threads} threads'
        say(f'demo: {what}; results go to {shown(root)}. Ctrl-C stops, the same command goes on.')
        self.scenes = self.write_scenes()
        self.arms: dict[str, Arm] = {}
        for name, config in CONFIGS.items():
            teacher = self.arms['teacher'] if is_distillation(load_config(config)) else None
            self.arms[name] = Arm(name, config, self.options(config), LENGTHS.get(name, 1), teacher)

    def write_scenes(self) -> dict:
        """Write the scenes unless they are there; returns what they were made from."""
        say(f'scenes: {shown(self.data)}')
        write_scenes(self.data, **(dict(QUICK_SCENES, workers=1) if self.args.quick else {}))
        record = json.loads((self.data / RECORD).read_text())
        say(f'scenes: {record["train"]} to train and {record["val"]} to validate')
        return record

    def options(self, config: str) -> dict[str, Any]:
        """Overrides of a config: where the data is, what it was made from, a finer log."""
        entries = data_sets(load_config(config), 'train', 'val', 'test')
        data = {f'{entry.key}.data_root': str(self.data) for entry in entries}
        options = {'default_hooks.logger.interval': 10, 'scenes': self.scenes, **data}
        return options | (quick_options(config) if self.args.quick else {})

    def trials(self, seed: int) -> list[Trial]:
        """The trials of a seed."""
        return [Trial(arm, seed, self.root / 'runs', 'best', True) for arm in self.arms.values()]

    def networks(self) -> dict[str, dict]:
        """Title, config and cost of each arm's network (of a student: without its teacher)."""
        arms = {}
        for name, arm in self.arms.items():
            cfg = student_config(arm.cfg)
            network = plain_network({'_scope_': cfg.default_scope, **cfg.model}, name)
            flops = count_flops(network, (self.scenes['size'],) * 2)[0]
            parameters = parameter_count(network)
            arms[name] = dict(title=TITLES[name], config=arm.config, parameters=parameters, flops=flops)
        return arms

    def draw(self, rows: list[Row], seeds: list[int]) -> None:
        """Draw both pictures."""
        maps = {}
        for row, trial in zip(rows, self.trials(seeds[0])):
            miou = number(row.values.get(seeds[0]), '.1f')
            maps[f'{TITLES[row.arm]}\nmIoU {miou}'] = trial.folder / 'test' / 'predictions'
        draw_predictions(self.root / 'predictions.png', self.data, maps)
        logs = {TITLES[name]: [] for name in self.arms}
        for seed in seeds:
            for trial in self.trials(seed):
                logs[TITLES[trial.arm.name]].append(read_training(trial.folder))
        draw_curves(self.root / 'curves.png', logs, 'mIoU')

    def run(self) -> dict:
        """Run all that is not there yet, then report.

        Raises:
            ValueError: A training or a test failed.
        """
        arms, seeds = self.networks(), list(range(self.args.seeds))
        chosen = [trial for seed in seeds for trial in self.trials(seed)]
        if failed := run_trials(chosen, self.env, lock=self.lock, every=EVERY):
            raise ValueError('\n\n'.join(f'{title}: {problem}' for title, problem in failed.items()))
        while all(trial.is_done() for trial in self.trials(len(seeds))):  # by an earlier call
            seeds.append(len(seeds))
        runs = [trial.record() for seed in seeds for trial in self.trials(seed)]
        rows = summarize(runs, 'mIoU')
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        versions = dict(python=platform.python_version(), torch=torch.__version__)
        found = dict(
            quick=self.args.quick,
            scenes=self.scenes,
            machine=dict(cores=os.cpu_count(), threads=self.threads, device=device, **versions),
            arms=arms,
            runs=runs,
            summary={row.arm: dict(values=row.values, mean=row.mean, std=row.std) for row in rows},
        )
        write_file(json.dumps(found, indent=2) + '\n', self.root / 'results.json')
        say('drawing the pictures')
        self.draw(rows, seeds)
        tables = [costs(found), *[over_seeds(rows)] * (len(seeds) > 1)]
        write_file('\n\n'.join(map(as_markdown, tables)) + '\n', self.root / 'results.md')
        for head, *body in tables:
            print('\n' + table(body, head, right=range(1, len(head)), rule=True))
        print('\n--quick: these figures are of networks that have learnt nothing.' * self.args.quick + '\n')
        for name in ('predictions.png', 'curves.png', 'results.md', 'results.json'):
            print(f'  {shown(self.root / name)}')
        return found


def costs(found: dict) -> list[list[str]]:
    """The table of the first seed with what each network costs, its heading first."""
    side = found['scenes']['size']
    flops = f'multiply-adds ({side} x {side})'
    rows = [['network', 'val mIoU', 'parameters', flops, 's/iter in training', 'iterations']]
    for run in found['runs'][: len(found['arms'])]:
        arm, seconds = found['arms'][run['arm']], number(run['seconds_per_iteration'], '.3f')
        cost = [f'{arm["parameters"] / 1e6:.2f} M', count(arm['flops']), seconds, str(run['length'])]
        rows.append([arm['title'], number(run['metrics']['mIoU'], '.1f'), *cost])
    return rows


def over_seeds(rows: list[Row]) -> list[list[str]]:
    """The table over seeds, its heading first."""
    (_, *seeds), *cells = trials(rows, '.1f')
    table = [['val mIoU', *seeds, 'mean', 'standard deviation']]
    for row, (_, *values) in zip(rows, cells):
        table.append([TITLES[row.arm], *values, number(row.mean, '.1f'), number(row.std, '.1f')])
    return table
