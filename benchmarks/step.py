"""What a distillation step costs: the whole step against its floor, and each of its parts.

The floor of a step is the student's own step plus the teacher's forward up to its last tap. In one process,
taking turns, so that other load of the machine falls on all alike:

    student      the student's own training step: forward, backward, optimizer
    teacher      the teacher's forward up to its last tap
    step         the distillation's training step; its ratio to the floor is what counts
    LOSS         each distillation loss alone: forward and backward, adapters included, on recorded tensors
    mmrazor      for a distiller of MMRazor: the step of the same recipe under mmrazor.SingleTeacherDistill,
                 and its teacher's part, the whole forward with heads and losses

    python benchmarks/step.py configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py
    python benchmarks/step.py CONFIG... --size 128 128 --batch 2 --json step.json
    python benchmarks/step.py mmrazor::distill/mmseg/cwd/NAME.py --size 128 128 --batch 2

Weights are random and the batch is noise with labels, in the sizes of the config; nothing is downloaded. With
--data, batches of the config's own data, whose loading in this process is timed too. Ratios are medians over
the rounds, each of which divides times of its own. Peak memory is what a step needs beyond the networks and
the batch, in a process of its own: resident memory, or the device's on a GPU. Weights that find themselves
(loss_weight='auto') are found in the first round: the steps that a run takes for that are not timed.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

import torch  # noqa: E402
from common import alternate, median_min_max, peak_memory  # noqa: E402
from entry import CfgOptions, read_config  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.model import BaseModel, revert_sync_batchnorm  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from mmengine.registry import MODELS, DefaultScope, init_default_scope  # noqa: E402

from kd_methods.check.batch import config_size, in_process, synthetic_batch  # noqa: E402
from kd_methods.distill.connection import StepRecords, recording  # noqa: E402
from kd_methods.distill.teacher_cache import SAMPLE_KEY, TeacherCache  # noqa: E402
from kd_methods.networks.config import resolve_model_cfg  # noqa: E402
from kd_methods.networks.heads import is_detector  # noqa: E402
from kd_methods.networks.recording import map_tensors  # noqa: E402

STUDENT, TEACHER, STEP, RAZOR, RAZOR_TEACHER = 'student', 'teacher', 'step', 'mmrazor', "mmrazor's teacher"
#: Keys of a recipe that both algorithms know.
RECIPE = (
    'architecture',
    'teacher',
    'distiller',
    'data_preprocessor',
    'calculate_student_loss',
    'student_trainable',
    'teacher_norm_eval',
)


class Bench:
    """A config's networks and a batch, and the ways to be timed.

    Args:
        config (str): As the command line names it.
        args (Namespace): The command line.
    """

    def __init__(self, config: str, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        options = argparse.Namespace(
            config=config, cfg_options=args.cfg_options, work_dir=None, launcher='none', local_rank=0
        )
        self.cfg = read_config(options)
        self.folder = tempfile.TemporaryDirectory()  # of a teacher's cache
        self.scope = self.cfg.get('default_scope') or 'mmseg'
        init_default_scope(self.scope)
        self.model = self._build('FrozenTeacherDistill')
        for auto in self.model.weights.auto.values():  # found in the first step, and not measured further
            auto.iters = 1
        self.batch_size = args.batch or (self.cfg.get('train_dataloader') or {}).get('batch_size', 2)
        self.loader: Any = None
        self.theirs: BaseModel | None = None  # the recipe under MMRazor's algorithm
        self.optimizers: dict[str, OptimWrapper] = {}

    def _build(self, kind: str) -> BaseModel:
        given = self.cfg.model
        recipe = {key: copy.deepcopy(given[key]) for key in RECIPE if key in given}
        if kind == 'FrozenTeacherDistill' and given.get('type') == kind:
            recipe = copy.deepcopy(dict(given))
            if recipe.get('cache_teacher') is not None:
                cache = TeacherCache.of(recipe['cache_teacher'])
                recipe['cache_teacher'] = dict(folder=self.folder.name, half=cache.half)
        for key in ('architecture', 'teacher'):
            recipe[key] = resolve_model_cfg(dict(recipe[key], downloads=False), f'model.{key}')
            if self.args.size and recipe[key].get('data_preprocessor', {}).get('size'):
                recipe[key]['data_preprocessor']['size'] = tuple(self.args.size)
        recipe.update(type=kind, teacher_ckpt=None)
        if kind != 'FrozenTeacherDistill':
            recipe['type'] = f'mmrazor.{kind}'
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            scope = self.scope if kind == 'FrozenTeacherDistill' else 'mmrazor'
            with DefaultScope.overwrite_default_scope(scope):
                model = MODELS.build(Config(dict(model=recipe)).model)
        if self.device.type == 'cpu':
            model = revert_sync_batchnorm(model)
        model = model.to(self.device)
        model.train()
        return model

    def batch(self) -> dict:
        """A batch as a dataloader gives it."""
        if self.args.data:
            if self.loader is None:
                self.loader = iter(in_process(self.cfg.train_dataloader, batch_size=self.batch_size))
            return next(self.loader)
        layout = getattr(self.model.data_preprocessor, 'layout', None)
        size = tuple(self.args.size or config_size(self.cfg, self.model.student))
        # A teacher's losses may need masks, which the student's do not mind.
        detector = is_detector(self.model.student)
        network = self.model.teacher.model if detector else self.model.student
        batch = synthetic_batch(network, self.batch_size, size, layout and layout.total)
        for i, sample in enumerate(batch['data_samples']):
            sample.set_metainfo({SAMPLE_KEY: f'noise_{i}'})
        return batch

    def train(self, name: str, model: BaseModel, data: dict) -> dict:
        """A training step of a model."""
        if name not in self.optimizers:
            trained = [p for p in model.parameters() if p.requires_grad]
            self.optimizers[name] = OptimWrapper(torch.optim.SGD(trained, lr=1e-4, momentum=0.9))
        return model.train_step(copy.deepcopy(data), self.optimizers[name])

    def student_batch(self, batch: dict) -> dict:
        """A batch with what the student sees of it."""
        layout = getattr(self.model.data_preprocessor, 'layout', None)
        return batch if layout is None else dict(batch, inputs=layout.select(batch['inputs'], 'student'))

    def ways(self) -> dict[str, Callable[[], Any]]:
        """All that is timed, by name, on one batch."""
        model, batch = self.model, self.batch()
        alone = self.student_batch(batch)
        ways: dict[str, Callable[[], Any]] = {STUDENT: lambda: self.train(STUDENT, model.student, alone)}
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        seen = data.get('teacher_inputs', data['inputs'])

        def teach() -> None:
            watched = recording(model.connections, 'teacher', model.teacher.recorder)
            model.teacher.run(seen, data['data_samples'], watched)

        ways[TEACHER] = teach
        ways[STEP] = lambda: self.train(STEP, model, batch)
        step = self.recorded(data)
        for name in model.owners:
            ways[name] = lambda name=name: self.one_loss(name, step)
        if type(model.distiller).__name__ == 'ConfigurableDistiller':
            theirs = self.theirs = self._build('SingleTeacherDistill')
            theirs.architecture.load_state_dict(model.architecture.state_dict())
            theirs.teacher.load_state_dict(model.teacher.model.state_dict())
            ways[RAZOR] = lambda: self.train(RAZOR, theirs, batch)
            ways[RAZOR_TEACHER] = torch.no_grad()(
                lambda: theirs.teacher(seen, data['data_samples'], mode='loss')
            )
        return ways

    def recorded(self, data: dict) -> StepRecords:
        """A step's records with the student's as leaves, so that a backward pass ends there."""
        step = self.model.record(**data, every=True)

        def leaf(x: torch.Tensor) -> torch.Tensor:
            return x.detach().requires_grad_(x.is_floating_point())

        for calls in step.student.calls.values():
            for call in calls.values():
                call.data = map_tensors(call.data, leaf)
        return step

    def one_loss(self, name: str, step: StepRecords) -> float:
        """Forward and backward of one loss."""
        connection = self.model.owners[name]
        (value,) = connection.compute([name.removeprefix(connection.name)], step).values()
        value.backward()
        return value.detach()

    def load(self) -> Callable[[], dict]:
        """The way that loads a batch."""
        self.batch()
        return self.batch


def make_ways(config: str, args: argparse.Namespace) -> dict[str, Callable]:
    """The ways of a config, in this process or one of its own."""
    torch.set_num_threads(args.threads)
    warnings.filterwarnings('ignore')
    return Bench(config, args).ways()


def measure(config: str, args: argparse.Namespace) -> dict:
    """All figures of a config: seconds by way, ratios, bytes."""
    bench = Bench(config, args)
    ways = bench.ways()
    if args.data:
        ways['data'] = bench.load()
    times, _ = alternate(ways, args.steps, args.warmup)
    floor = [a + b for a, b in zip(times[STUDENT], times[TEACHER])]
    found: dict[str, Any] = dict(
        config=config,
        batch=bench.batch_size,
        size=list(args.size or config_size(bench.cfg, bench.model.student)),
        seconds=times,
        ratio=statistics.median(a / b for a, b in zip(times[STEP], floor)),
        ratio_quartiles=quartiles([a / b for a, b in zip(times[STEP], floor)]),
    )
    if RAZOR in times:
        found['mmrazor_ratio'] = statistics.median(a / b for a, b in zip(times[RAZOR], times[STEP]))
        found['mmrazor_teacher_ratio'] = statistics.median(
            a / b for a, b in zip(times[RAZOR_TEACHER], times[TEACHER])
        )
    del bench, ways
    if args.memory:
        names = [STUDENT, STEP, *((RAZOR,) if RAZOR in times else ())]
        found['peak_bytes'] = {name: peak_memory(_ways_of(config), name, args) for name in names}
    return found


class _ways_of:  # noqa: N801 - a partial that a spawned process can read
    def __init__(self, config: str) -> None:
        self.config = config

    def __call__(self, args: argparse.Namespace) -> dict[str, Callable]:
        return make_ways(self.config, args)


def quartiles(values: list[float]) -> list[float]:
    """The lower and the upper quartile."""
    if len(values) < 2:
        return [values[0]] * 2
    low, _, high = statistics.quantiles(values, n=4, method='inclusive')
    return [low, high]


def report(found: dict) -> str:
    """The table of a config, as Markdown."""
    rows = [['', 'ms', 'lowest - highest', 'of the step', 'peak MB']]
    whole = statistics.median(found['seconds'][STEP])
    for name, seconds in found['seconds'].items():
        middle, low, high = median_min_max(seconds, 1e3)
        peak = found.get('peak_bytes', {}).get(name)
        share = f'{middle / 1e3 / whole:.2f}'
        memory = '' if peak is None else f'{peak / 2**20:.0f}'
        rows.append([name, f'{middle:.1f}', f'{low:.1f} - {high:.1f}', share, memory])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ['| ' + ' | '.join(cell.ljust(w) for cell, w in zip(row, widths)) + ' |' for row in rows]
    lines.insert(1, '|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    low, high = found['ratio_quartiles']
    size = ' x '.join(map(str, found['size']))
    head = [f'{found["config"]}, {found["batch"]} x {size}', '']
    tail = ['', f'step / floor: {found["ratio"]:.3f} (quartiles {low:.3f} to {high:.3f})']
    if 'mmrazor_ratio' in found:
        whole, teacher = found['mmrazor_ratio'], found['mmrazor_teacher_ratio']
        tail.append(f"mmrazor's step / ours: {whole:.2f}; its teacher's part / ours: {teacher:.2f}")
    return '\n'.join([*head, *lines, *tail])


def surroundings(args: argparse.Namespace) -> dict:
    """Machine, versions and commit of a run."""
    from importlib.metadata import version

    packages = (
        'torch',
        'onedl-mmengine',
        'onedl-mmcv',
        'onedl-mmsegmentation',
        'onedl-mmdetection',
        'mmrazor',
    )
    device = torch.cuda.get_device_name() if args.device.startswith('cuda') else platform.processor()
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT, capture_output=True, text=True)
    return dict(
        device=device or platform.machine(),
        threads=args.threads,
        versions={name: version(name) for name in packages},
        commit=commit.stdout.strip(),
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='distillation configs, or mmrazor::...')
    add(
        '--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help='override config keys of all'
    )
    add('--size', type=int, nargs=2, metavar=('H', 'W'), help="height and width (the config's crop)")
    add('--batch', type=int, help="images of a batch (the config's)")
    add('--steps', type=int, default=30, help='timed rounds (%(default)s)')
    add('--warmup', type=int, default=3, help='rounds before them (%(default)s)')
    add('--threads', type=int, default=torch.get_num_threads(), help='CPU threads (%(default)s)')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='(%(default)s)')
    add('--data', action='store_true', help="batches of the config's data, and the time of loading one")
    add('--no-memory', dest='memory', action='store_false', help='leave out the peak memory')
    add('--json', type=Path, metavar='FILE', help='write all figures here')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> list[dict]:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    warnings.filterwarnings('ignore')
    print(', '.join(f'{k} {v}' for k, v in surroundings(args).items() if k != 'versions'), flush=True)
    found = []
    for config in args.configs:
        found.append(measure(config, args))
        print('\n' + report(found[-1]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(dict(surroundings(args), runs=found), indent=1) + '\n')
    return found


if __name__ == '__main__':
    main()
