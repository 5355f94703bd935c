"""What tests share: sign scenes, tiny networks trained on them, and the tools as functions.

Everything is written under pytest's temporary folder and trained once a session.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest  # noqa: E402
import torch  # noqa: E402
import yapf.yapflib.yapf_api  # noqa: E402, F401  writes its cache before there are workers to do so at once
from toys import SIZE, load_tool, tiny_distillation, tiny_model, tiny_run, write_config  # noqa: E402

pytest_plugins = ['distill_fixtures', 'run_fixtures']
torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; some tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items) -> None:
    """Files that start processes come first: two workers then end at about the same time."""
    first = ('test_demo', 'test_sweep', 'test_dist', 'test_ddp', 'test_configs')
    items.sort(key=lambda item: item.path.stem not in first and 'export' not in item.path.stem)


@pytest.fixture(autouse=True, scope='session')
def quick_tiny_runs():
    """Without two things on which mmengine spends most of a tiny run's time."""
    gc.freeze()  # every data set collects garbage, among all objects of all modules
    with pytest.MonkeyPatch.context() as patch:  # every checkpoint has the config as formatted text
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))
        yield


@pytest.fixture(autouse=True)
def seeded():
    """The same draws in any order of the tests: a draw that hits the kink of a gradient fails."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_scope():
    """No default scope is left from the runner of another test: types would be looked up in it, in some
    orders only.
    """
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()


@pytest.fixture
def segmentation_scope(no_scope):
    """Look types up as a segmentation config would."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(scope='session')
def tiny_scenes(tmp_path_factory) -> Path:
    """A folder with 16 training and 5 validation scenes of 64 x 64."""
    from kd_methods.scenes.writer import write_scenes

    out = tmp_path_factory.mktemp('data') / 'scenes'
    write_scenes(out, train=16, val=5, size=SIZE, workers=1)
    return out


@pytest.fixture(scope='session')
def tools() -> SimpleNamespace:
    """`tools.train(argv)` and `tools.test(argv)`: the tools' `main` in this process."""

    def start(name: str) -> Callable:
        main = load_tool(name).main

        def run(argv: list):
            from mmengine.logging import MessageHub, MMLogger
            from mmengine.visualization import Visualizer
            from mmseg.visualization import SegLocalVisualizer

            # mmengine keeps one of each for a name, which has seconds: of two runs in one second, the second
            # would write to the folder of the first
            for kind in (MMLogger, MessageHub, Visualizer, SegLocalVisualizer):
                kind._instance_dict.clear()
            return main([str(part) for part in argv])

        return run

    return SimpleNamespace(train=start('train'), test=start('test'))


@pytest.fixture(scope='session')
def tiny_config(tiny_scenes, tmp_path_factory) -> Callable[..., Path]:
    """Write a config of a tiny run: `tiny_config(name, model=None, iters=4, **keys)` -> its path.

    `model` defaults to `tiny_model()`; `keys` replace or add top-level keys.
    """
    folder = tmp_path_factory.mktemp('configs')

    def make(name: str, model: dict | None = None, iters: int = 4, **keys) -> Path:
        cfg = dict(tiny_run(tiny_scenes, iters), model=model or tiny_model(), **keys)
        return write_config(folder / f'{name}.py', cfg)

    return make


@pytest.fixture(scope='session')
def tiny_teacher(tiny_config, tools, tmp_path_factory) -> SimpleNamespace:
    """A trained plain network: `.config`, `.checkpoint` (full) and `.work_dir`, all paths."""
    config = tiny_config('tiny_teacher', iters=4)
    work_dir = tmp_path_factory.mktemp('work') / 'tiny_teacher'
    tools.train([str(config), '--work-dir', str(work_dir)])
    return SimpleNamespace(config=config, work_dir=work_dir, checkpoint=work_dir / 'iter_4.pth')


@pytest.fixture(scope='session')
def tiny_distill_cfg(tiny_config, tiny_teacher) -> Path:
    """A distillation config: `tiny_teacher` teaches a network of half its width."""
    return tiny_config('tiny_distill', model=tiny_distillation(tiny_teacher))


@pytest.fixture(scope='session')
def tiny_distilled(tiny_distill_cfg, tools, tmp_path_factory) -> SimpleNamespace:
    """`tiny_distill_cfg` after its run: `.config`, `.checkpoint` (full), `.student`, `.work_dir`."""
    work_dir = tmp_path_factory.mktemp('work') / 'tiny_distill'
    tools.train([str(tiny_distill_cfg), '--work-dir', str(work_dir)])
    return SimpleNamespace(
        config=tiny_distill_cfg,
        work_dir=work_dir,
        checkpoint=work_dir / 'iter_4.pth',
        student=work_dir / 'iter_4_student.pth',
    )
