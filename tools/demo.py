"""The demo: does a student learn better with a teacher? On sign scenes, on a CPU, with no download.

    python tools/demo.py              # teacher, student alone, student with I2CKD: table and pictures
    python tools/demo.py --seeds 3    # the same comparison over three seeds (three times as long)

It writes the scenes, trains the three networks with tools/train.py and the shipped configs, tests them with
tools/test.py, and leaves in work_dirs/demo: results.md, results.json, predictions.png, curves.png, and each
run under seed_K/. Stopped (Ctrl-C), it goes on where it was when it is called again; a run whose config has
changed since is repeated."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not

import torch  # noqa: E402
from entry import run_tool  # noqa: E402

import kd_methods  # noqa: E402, F401  before any config is read
from kd_methods.check.networks import count_flops, parameter_count, plain_network  # noqa: E402
from kd_methods.demo import pictures, quick, report, stages  # noqa: E402
from kd_methods.demo.logs import TrainingLog, read_training  # noqa: E402
from kd_methods.export.student_config import student_config  # noqa: E402
from kd_methods.networks.config import load_config
from kd_methods.scenes.writer import RECORD  # noqa: E402
from kd_methods.utils.files import (
    exclusive_folder,  # noqa: E402
    write_file,  # noqa: E402
)
from kd_methods.utils.paths import REPO_ROOT


class Arm(NamedTuple):
    """One of the networks that are compared."""

    name: str
    title: str
    config: str
    distilled: bool = False


ARMS = (
    Arm('teacher', 'teacher', 'configs/baselines/pspnet_r18_scenes.py'),
    Arm('alone', 'student alone', 'configs/baselines/pspnet_r18-w16_scenes.py'),
    Arm(
        'i2ckd',
        'student with I2CKD',
        'configs/i2ckd/i2ckd_pspnet_r18_pspnet_r18-w16_scenes.py',
        distilled=True,
    ),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n', 1)[0],
        epilog=__doc__.split('\n\n', 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='run seeds 0 to N-1 (%(default)s)')
    parser.add_argument('--work-dir', type=Path, help='folder of all results (work_dirs/demo)')
    parser.add_argument('--data', type=Path, help="folder of the scenes (the configs': data/scenes)")
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a few steps on a few tiny scenes: tries the machinery, learns nothing; has its own folders '
        '(work_dirs/demo-quick)',
    )
    parser.add_argument(
        '--threads', type=int, help='threads of a training (OMP_NUM_THREADS, else the cores, at most 8)'
    )
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f'--seeds: got {args.seeds}, expected 1 or more')
    return args


def say(text: str) -> None:
    """Print a line with the time of day, at once."""
    print(f'{time.strftime("%H:%M:%S")}  {text}', flush=True)


class Demo:
    """All stages of the demo, and where they are kept.

    Args:
        args (Namespace): Of `parse_args`.
        lock (int): File that the started processes keep open, so that no second demo works in the same
            folder.
    """

    def __init__(self, args: argparse.Namespace, root: Path, lock: int) -> None:
        self.args, self.root, self.lock = args, root, lock
        self.data = self._data_folder()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
        self.threads = args.threads or int(os.environ.get('OMP_NUM_THREADS') or min(cores, 8))
        threads = str(self.threads)
        self.env = {
            **os.environ,
            'OMP_NUM_THREADS': threads,
            'MKL_NUM_THREADS': threads,
            'PYTHONUNBUFFERED': '1',
        }
        self.total = args.seeds * len(ARMS)

    def _data_folder(self) -> Path:
        if self.args.data:
            return self.args.data.resolve()
        if self.args.quick:
            return self.root / 'scenes'
        return REPO_ROOT / load_config(ARMS[0].config).train_dataloader.dataset.data_root

    def folder(self, arm: Arm, seed: int) -> Path:
        """Work dir of a run."""
        return self.root / f'seed_{seed}' / arm.name

    def scenes(self) -> dict:
        """Write the scenes, and say what was written."""
        sizes = quick.SCENES if self.args.quick else {}
        say(f'scenes: {_shown(self.data)}')
        # a process of its own like all the rest: it is stopped quietly, and its silence is noticed
        stages.run_process(
            'write scenes',
            [
                'tools/data/make_scenes.py',
                '--out',
                self.data,
                *(f'--{name}={value}' for name, value in sizes.items()),
            ],
            self.env,
            self.root / 'scenes.txt',
            say,
            (self.lock,),
        )
        record = json.loads((self.data / RECORD).read_text())
        say(f'scenes: {record["train"]} to train and {record["val"]} to validate')
        return record

    def options(self, arm: Arm, seed: int) -> dict[str, Any]:
        """Overrides of an arm's config: where things are, the seed, a finer log."""
        options: dict[str, Any] = {'randomness.seed': seed, 'default_hooks.logger.interval': 10}
        for split in ('train', 'val', 'test'):
            options[f'{split}_dataloader.dataset.data_root'] = self.data
        if arm.distilled:
            options['model.teacher_ckpt'] = self.folder(ARMS[0], seed) / 'best.pth'
        if self.args.quick:
            options.update(quick.quick_options(load_config(arm.config)))
        return {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}

    def train(self, arm: Arm, seed: int, scenes: dict) -> str:
        """Train an arm unless it is trained; returns the hash of everything that it depends on."""
        folder, options = self.folder(arm, seed), self.options(arm, seed)
        key = self.training_key(arm, seed, scenes)

        def command(resume: bool) -> list:
            return [
                'tools/train.py',
                arm.config,
                '--work-dir',
                folder,
                *(['--resume'] if resume else []),
                *stages.as_arguments(options),
            ]

        stages.run_stage(
            self._title(arm, seed, 'train'),
            folder,
            key,
            command,
            self.env,
            result='best.pth',
            say=say,
            pass_fds=(self.lock,),
        )
        return key

    def test(self, arm: Arm, seed: int) -> None:
        """Test an arm's best checkpoint unless this one is tested."""
        folder = self.folder(arm, seed)
        key, checkpoint = self.testing_key(arm, seed), folder / 'best.pth'
        command = [
            'tools/test.py',
            arm.config,
            checkpoint,
            '--work-dir',
            folder / 'test',
            '--out',
            folder / 'test' / 'predictions',
            *stages.as_arguments(self.options(arm, seed)),
        ]
        stages.run_stage(
            self._title(arm, seed, 'test'),
            folder / 'test',
            key,
            lambda _: command,
            self.env,
            result='test_best.json',
            say=say,
            pass_fds=(self.lock,),
        )

    def training_key(self, arm: Arm, seed: int, scenes: dict) -> str:
        """Hash of a training: the whole config with both networks, the scenes, the teacher's weights."""
        options = self.options(arm, seed)
        teacher = options.pop('model.teacher_ckpt', None)
        return stages.digest(
            [
                stages.run_config(arm.config, options).to_dict(),
                scenes,
                stages.file_digest(teacher) if teacher else None,
            ]
        )

    def testing_key(self, arm: Arm, seed: int) -> str:
        """Hash of a test: the checkpoint."""
        return stages.digest(stages.file_digest(self.folder(arm, seed) / 'best.pth'))

    def finished(self, seed: int, scenes: dict) -> bool:
        """Whether all runs of a seed are there, made with the present configs."""
        for arm in ARMS:
            folder = self.folder(arm, seed)
            needed = [
                self.folder(ARMS[0], seed) / 'best.pth',
                folder / 'best.pth',
                folder / 'test' / 'test_best.json',
            ]
            if not (
                all(path.is_file() for path in needed)
                and stages.is_done(folder, self.training_key(arm, seed, scenes))
                and stages.is_done(folder / 'test', self.testing_key(arm, seed))
            ):
                return False
        return True

    def _title(self, arm: Arm, seed: int, verb: str) -> str:
        number = seed * len(ARMS) + ARMS.index(arm) + 1
        return (
            f'[{number}/{self.total}] '
            + (f'seed {seed}, ' if self.args.seeds > 1 else '')
            + f'{verb} {arm.title}'
        )

    def networks(self, size: int) -> dict[str, dict]:
        """Title, config and cost of each arm's network (of a student: without its teacher)."""
        arms = {}
        for arm in ARMS:
            cfg = student_config(stages.run_config(arm.config, self.options(arm, 0)))
            network = plain_network({'_scope_': cfg.default_scope, **cfg.model}, arm.name)
            arms[arm.name] = dict(
                title=arm.title,
                config=arm.config,
                parameters=parameter_count(network),
                flops=count_flops(network, (size, size))[0],
            )
        return arms

    def results(self, scenes: dict, arms: dict, seeds: list[int]) -> dict:
        """Everything that was measured, in plain values."""
        runs = []
        for seed in seeds:
            for arm in ARMS:
                folder = self.folder(arm, seed)
                metrics = json.loads((folder / 'test' / 'test_best.json').read_text())['metrics']
                seconds = read_training(folder).seconds_per_iteration
                max_iters = stages.run_config(arm.config, self.options(arm, seed)).train_cfg.max_iters
                runs.append(
                    dict(
                        arm=arm.name,
                        seed=seed,
                        **metrics,
                        iterations=max_iters,
                        seconds_per_iteration=None if seconds is None else round(seconds, 4),
                        seconds=json.loads((folder / stages.MARKER).read_text())['seconds'],
                        checkpoint=str((folder / 'best.pth').relative_to(self.root)),
                    )
                )
        machine = dict(
            cores=os.cpu_count(),
            threads=self.threads,
            device='cuda' if torch.cuda.is_available() else 'cpu',
            python=platform.python_version(),
            torch=torch.__version__,
        )
        return dict(
            quick=self.args.quick,
            input_size=scenes['size'],
            scenes=scenes,
            machine=machine,
            arms=arms,
            runs=runs,
            summary=report.summarize(runs),
        )

    def draw(self, results: dict, seeds: list[int]) -> None:
        """Draw both pictures."""
        score = {run['arm']: run['mIoU'] for run in results['runs'] if run['seed'] == 0}
        pictures.draw_predictions(
            self.root / 'predictions.png',
            self.data,
            {
                f'{arm.title}\nmIoU {report.number(score[arm.name])}': self.folder(arm, 0)
                / 'test'
                / 'predictions'
                for arm in ARMS
            },
        )
        logs: dict[str, list[TrainingLog]] = {
            arm.title: [read_training(self.folder(arm, seed)) for seed in seeds] for arm in ARMS
        }
        pictures.draw_curves(self.root / 'curves.png', logs)

    def run(self) -> dict:
        """Run all that is not there yet, then report."""
        start = time.monotonic()
        say(
            f'demo: {self.total} trainings with {self.threads} threads; results go to {_shown(self.root)}. '
            'Ctrl-C stops, the same command goes on.'
        )
        scenes = self.scenes()
        arms = self.networks(scenes['size'])
        for seed in range(self.args.seeds):
            for arm in ARMS:
                self.train(arm, seed, scenes)
                self.test(arm, seed)
        more = self.args.seeds
        while self.finished(more, scenes):
            more += 1
        results = self.results(scenes, arms, list(range(more)))
        write_file(json.dumps(results, indent=2) + '\n', self.root / 'results.json')
        say('drawing the pictures')
        self.draw(results, list(range(more)))
        tables = [rows for rows in (report.comparison(results), report.over_seeds(results)) if rows]
        write_file('\n\n'.join(report.as_markdown(rows) for rows in tables) + '\n', self.root / 'results.md')
        print('\n' + '\n\n'.join(report.as_text(rows) for rows in tables) + '\n')
        if self.args.quick:
            print('--quick: these figures are of networks that have learnt nothing.\n')
        for name in ('predictions.png', 'curves.png', 'results.md', 'results.json'):
            print(f'  {_shown(self.root / name)}')
        print(f'\nThis call took {stages.clock(time.monotonic() - start)}.', flush=True)
        return results


def _shown(path: Path) -> str:
    """A path as it is typed from here."""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith('..') else shown


def locked(root: Path) -> AbstractContextManager[int]:
    """Hold the folder of results; a started process holds it too, as long as it runs."""
    return exclusive_folder(
        root, f'--work-dir: another demo is at work in {_shown(root)}; wait for it, or end it.'
    )


def main(argv: list[str] | None = None) -> dict:
    """Run the demo as the command line says and return its results."""
    args = parse_args(argv)
    warnings.filterwarnings('ignore', message='Default ``avg_non_ignore`` is False')
    root = (args.work_dir or REPO_ROOT / 'work_dirs' / ('demo-quick' if args.quick else 'demo')).resolve()
    with locked(root) as lock:
        return Demo(args, root, lock).run()


def run_from_shell() -> None:
    """Run the demo; a failed stage ends in its last lines instead of this process's traceback."""
    try:
        main()
    except stages.StageError as error:
        sys.exit(f'demo.py: {error}')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end stops the training too
    run_tool(run_from_shell, 'The same command goes on where this one stopped.')
