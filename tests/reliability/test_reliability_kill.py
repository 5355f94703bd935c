"""A run that is killed at any moment goes on from its last completed save."""

import contextlib
import multiprocessing
import os
import random
import re
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch
from toys import ROOT, SIZE, load_tool, tiny_distillation

CONTEXT = multiprocessing.get_context('fork')  # starts with everything imported
ITERS = 24


def write_slowly(notes: Path) -> None:
    """In this process every write says what it is about to finish, and waits long enough to be killed."""
    from kd_methods.compat import checkpoint_files
    from kd_methods.utils import files

    atomic_path, save = files.atomic_path, torch.save

    def note(text: str) -> None:
        with notes.open('a') as file:
            file.write(text + '\n')
        time.sleep(0.15)

    @contextlib.contextmanager
    def slow_path(path, *args, **kwargs):
        with atomic_path(path, *args, **kwargs) as part:
            yield part
            note(f'before the rename of {Path(path).name}')
        note(f'after the rename of {Path(path).name}')

    def slow_save(content, file, *args, **kwargs):
        save(content, file, *args, **kwargs)
        if isinstance(file, (str, Path)):
            whole = Path(file).read_bytes()
            Path(file).write_bytes(whole[: len(whole) // 2])
            note('inside of a checkpoint')
            Path(file).write_bytes(whole)

    for module in list(sys.modules.values()):
        if getattr(module, '__name__', '').startswith('kd_methods.') and hasattr(module, 'atomic_path'):
            module.atomic_path = slow_path
    checkpoint_files.torch.save = slow_save


def run(argv: list[str], out: Path, notes: Path | None) -> None:
    """What the child does: train, with all output in a file."""
    sys.stdout = sys.stderr = file = out.open('w', buffering=1)
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    if notes is not None:
        write_slowly(notes)
    try:
        load_tool('train').main(argv)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def whole_iterations(work_dir: Path) -> list[int]:
    """Iterations of the checkpoints that were completed."""
    found = []
    for path in work_dir.glob('iter_*.pth'):
        if re.fullmatch(r'iter_\d+', path.stem):
            torch.load(path, weights_only=False)  # under its name it is whole
            found.append(int(path.stem[5:]))
    return sorted(found)


def kill_and_go_on(argv: list[str], work_dir: Path, kills: int) -> list[str]:
    """Kill a run again and again, at random moments and inside of writes; what the last notes before were."""
    draw, moments = random.Random(kills), []
    out, notes = work_dir.with_suffix('.out'), work_dir.with_suffix('.notes')
    argv = [*argv, '--work-dir', str(work_dir), '--resume']
    for number in range(kills):
        saved = whole_iterations(work_dir)
        notes.write_text('')
        child = CONTEXT.Process(target=run, args=(argv, out, notes))
        child.start()
        wanted, pause = draw.randint(1, 7), draw.random() * 0.4
        deadline = time.monotonic() + 120
        while child.is_alive() and len(notes.read_text().splitlines()) < wanted:
            assert time.monotonic() < deadline, out.read_text()
            time.sleep(0.01)
        time.sleep(pause if number % 2 else 0)  # every other time right inside of a write
        child.kill()
        child.join()
        text = out.read_text()
        assert child.exitcode == -9 or (child.exitcode == 0 and saved[-1:] == [ITERS]), text
        assert 'Traceback' not in text, text
        if saved:
            resumed = re.findall(r'resumed epoch: \d+, iter: (\d+)', text)
            assert resumed == [str(saved[-1])], (number, saved, notes.read_text(), text[-3000:])
        moments += notes.read_text().splitlines()[-1:]
    child = CONTEXT.Process(target=run, args=(argv, out, None))
    child.start()
    child.join(300)
    assert child.exitcode == 0 and 'Traceback' not in out.read_text(), out.read_text()
    return moments


def files_of(work_dir: Path) -> set[str]:
    """All that a run has written, logs left out."""
    return {path.name for path in work_dir.iterdir() if path.is_file() and path.name != '.running'}


def check(argv: list[str], tmp_path: Path, tools, kills: int) -> list[str]:
    """Kill a run, and compare what it ends with to a run that was left alone."""
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    tools.train([*argv, '--work-dir', str(whole)])
    moments = kill_and_go_on(argv, killed, kills)
    assert files_of(killed) == files_of(whole)
    first, second = (torch.load(d / f'iter_{ITERS}.pth', weights_only=False) for d in (whole, killed))
    for name, value in first['state_dict'].items():
        assert torch.equal(value, second['state_dict'][name]), name
    return moments


@pytest.fixture
def segmentation(tiny_config, tiny_teacher):
    keys = dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=ITERS, val_interval=4))
    hook = dict(type='CheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=1, save_best='mIoU')
    config = tiny_config('tiny_killed', tiny_distillation(tiny_teacher), iters=ITERS, **keys)
    text = f'default_hooks["checkpoint"] = {hook!r}\nrandomness = dict(seed=0)\n'
    config.write_text(f'{config.read_text()}\n{text}')
    return [str(config)]


def test_a_killed_segmentation_run_goes_on_from_its_last_save(segmentation, tmp_path, tools):
    check(segmentation, tmp_path, tools, kills=6)


@pytest.mark.slow
def test_a_segmentation_run_that_is_killed_thirty_times(segmentation, tmp_path, tools):
    moments = check(segmentation, tmp_path, tools, kills=30)
    kinds = {re.sub(r'\d+', 'N', moment) for moment in moments}
    assert len(kinds) >= 5, kinds


@pytest.fixture
def detection(tools, tmp_path_factory):
    from kd_methods.scenes.writer import write_scenes

    scenes = tmp_path_factory.mktemp('data') / 'scenes_coco'
    write_scenes(scenes, train=8, val=3, size=SIZE, format='coco', workers=1)
    options = [f'train_cfg.max_iters={ITERS}', 'train_cfg.val_interval=8', 'train_dataloader.batch_size=2']
    options += [f'{split}_dataloader.dataset.data_root={scenes}' for split in ('train', 'val', 'test')]
    annotations = scenes / 'annotations/instances_val2017.json'
    options += [f'{split}_evaluator.ann_file={annotations}' for split in ('val', 'test')]
    options += ['default_hooks.checkpoint.interval=2', 'default_hooks.checkpoint.max_keep_ckpts=2']
    options += ['randomness.seed=0', 'optim_wrapper.optimizer.lr=1e-4']
    folder = tmp_path_factory.mktemp('teacher')
    teacher = ROOT / 'configs/baselines/retinanet_r18_scenescoco.py'
    tools.train([str(teacher), '--work-dir', str(folder), '--cfg-options', *options])
    options += [f'model.teacher_ckpt={folder}/iter_{ITERS}_student.pth']
    options += ['model.architecture.test_cfg.score_thr=0.0']
    student = ROOT / 'configs/dmkd/dmkd_retinanet_r18_retinanet_r18-w16_scenescoco.py'
    return [str(student), '--cfg-options', *options]


@pytest.mark.slow
def test_a_detection_run_that_is_killed_thirty_times(detection, tmp_path, tools):
    check(detection, tmp_path, tools, kills=30)
