"""Bad data during training: the sentence names the file, and a few samples may be left out."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, MODELS
from PIL import Image
from raw_coco import small_coco
from torch.utils.data import DataLoader
from toys import run_script, tiny_distillation, tiny_model, tiny_run, write_config

from kd_methods.hooks.bad_data import RECORD
from kd_methods.hooks.guarded import guard, read_skipped
from kd_methods.utils.errors import SampleError

CLASSES = 11


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def set_label(value: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        labels = np.array(Image.open(path))
        labels[3:5, 7] = value
        Image.fromarray(labels).save(path)

    return change


def resize(path: Path) -> None:
    Image.open(path).resize((32, 48), Image.Resampling.NEAREST).save(path)


def empty(path: Path) -> None:
    path.write_bytes(b'')


DAMAGES = {
    'cut image': ('images', cut, r'images/\S+ \(\d+ bytes\) is no whole image'),
    'empty image': ('images', empty, r'images/\S+ is empty'),
    'cut label': ('labels', cut, r'labels/\S+ \(\d+ bytes\) is no whole image'),
    'label outside': (
        'labels',
        set_label(13),
        'the label holds 13, but classes are 0 to 10, and 255 for ignored',
    ),
    'other size': ('labels', resize, r'the image is 64 x 64, its label 48 x 32 \(height x width\)'),
}


@pytest.fixture
def scenes(tiny_scenes, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_scenes, tmp_path / 'scenes'))


def damage(scenes: Path, kind: str, *numbers: int) -> list[Path]:
    folder, change, _ = DAMAGES[kind]
    files = sorted((scenes / 'train' / folder).glob('*.png'))
    for number in numbers:
        change(files[number])
    return [files[number] for number in numbers]


def config(scenes: Path, workers: int = 0, iters: int = 8, **keys) -> str:
    cfg = dict(tiny_run(scenes, iters), model=tiny_model(4), **keys)
    cfg['train_dataloader'].update(num_workers=workers, persistent_workers=workers > 0)
    cfg.update(val_dataloader=None, val_evaluator=None, val_cfg=None)
    cfg['train_cfg'].pop('val_interval')
    return str(write_config(scenes.parent / 'config.py', cfg))


def log_of(work_dir: Path) -> str:
    return ''.join(path.read_text() for path in work_dir.rglob('*.log'))


@pytest.fixture
def train(tools, tmp_path, monkeypatch) -> Callable:
    """`train(config, *arguments)` in this process, without the look at the data before a run."""

    def run(path: str, *arguments: str):
        monkeypatch.setattr('kd_methods.data_check.look.check_datasets', lambda *args: None)
        return tools.train([path, '--work-dir', str(tmp_path / 'work'), *arguments])

    return run


@pytest.mark.parametrize('kind, workers', [('cut image', 2), *((kind, 0) for kind in DAMAGES)])
def test_the_error_names_the_file(kind, workers, scenes, train):
    (path,) = damage(scenes, kind, 5)
    with pytest.raises(SampleError, match=DAMAGES[kind][2]) as caught:
        train(config(scenes, workers))
    text = str(caught.value)
    assert text.startswith('train_dataloader: sample 5 of SceneDataset (image ')
    assert str(path) in text and 'skip_bad_samples' in text
    assert '\n' not in text and 'Traceback' not in text
    if workers:  # KD_DEBUG=1 shows it
        assert 'Original Traceback' in str(caught.value.__cause__)


def test_the_tool_ends_in_one_sentence(scenes, tmp_path):
    (path,) = damage(scenes, 'cut image', 7)  # not among the few that are looked at before a run
    command = [sys.executable, 'tools/train.py', config(scenes, 2), '--work-dir', tmp_path / 'work']
    result = run_script(*command)
    assert result.returncode == 1
    last = result.stderr[result.stderr.index('train.py: ') :]
    assert 'Traceback' not in result.stderr and 'sample 7 of SceneDataset' in last
    assert last.count('\n') == 2 and str(path) in last and 'KD_DEBUG=1' in last


@pytest.mark.parametrize('workers', [0, 2])
def test_some_bad_samples_are_left_out_and_counted(workers, scenes, train, tmp_path):
    """Over two passes, in all workers together, each counts once."""
    damage(scenes, 'cut image', 5)
    damage(scenes, 'label outside', 9)
    damage(scenes, 'other size', 12)
    runner = train(config(scenes, workers, iters=20, skip_bad_samples=3))
    assert runner.iter == 20
    skipped = read_skipped(tmp_path / 'work' / RECORD)
    assert sorted(int(sample.split()[1]) for sample in skipped) == [5, 9, 12]
    log = log_of(tmp_path / 'work')
    for number, (sample, what) in enumerate(skipped.items(), 1):
        assert log.count(f'skip_bad_samples: {number} of at most 3: {sample}: {what}') == 1


def test_more_than_may_be_left_out_end_the_run(scenes, train):
    damage(scenes, 'cut image', 5, 9, 12)
    with pytest.raises(
        SampleError, match='skip_bad_samples=2, but these are 3 bad samples; .*skipped_samples.txt'
    ):
        train(config(scenes, 2, iters=20, skip_bad_samples=2))


def test_a_new_run_counts_anew_and_a_resumed_one_goes_on(scenes, train, tmp_path):
    damage(scenes, 'cut image', 5)
    record = tmp_path / 'work' / RECORD
    record.parent.mkdir()
    record.write_text('of an older run\tx\n')
    train(config(scenes, iters=8, skip_bad_samples=1))
    assert len(read_skipped(record)) == 1 and 'sample 5' in record.read_text()
    damage(scenes, 'cut label', 9)
    with pytest.raises(SampleError, match='these are 2 bad samples'):
        train(config(scenes, iters=24, skip_bad_samples=1), '--resume')


@pytest.mark.parametrize('value', [-1, 1.5, True, 'all', None])
def test_another_value_of_skip_bad_samples_is_refused(value, scenes, train):
    with pytest.raises(ValueError, match='skip_bad_samples: got .*, expected a whole number of 0 or more'):
        train(config(scenes, skip_bad_samples=value))


@pytest.mark.parametrize('all_ignored', [True, False])
@pytest.mark.parametrize('iters', [3, 17])
def test_an_epoch_of_ignored_labels_alone_warns(all_ignored, iters, scenes, train, tmp_path):
    files = sorted((scenes / 'train/labels').glob('*.png'))
    few = (
        files[1:] if iters > 16 else files[:1]
    )  # one labelled image in an epoch, or nearly all in a part of one
    for path in files if all_ignored else few:
        Image.fromarray(np.full((64, 64), 255, np.uint8)).save(path)
    train(config(scenes, iters=iters))
    warnings = log_of(tmp_path / 'work').count('were ignored: nothing is learnt')
    assert warnings == int(all_ignored)  # mmengine tells the same only once


def test_data_in_wrappers_and_of_detection(tmp_path):
    """A broken image of COCO, inside of a wrapper, in a worker."""
    import kd_methods  # noqa: F401

    small = small_coco(tmp_path)
    cut(tmp_path / 'train/003.jpg')
    cfg = dict(small.train.to_dict(), _scope_='mmdet')
    dataset = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=cfg, _scope_='mmdet'))
    guard(dataset, 'train_dataloader', 0, tmp_path / RECORD)
    guard(dataset, 'train_dataloader', 0, tmp_path / RECORD)  # again does nothing
    for workers in (0, 1):
        loader = DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=list)
        with pytest.raises(
            SampleError, match=r'^train_dataloader: sample 3 of CocoDataset .*003.jpg \(.* whole image'
        ):
            list(loader)
    guard_again = DATASETS.build(cfg)
    guard(guard_again, 'train_dataloader', 1, tmp_path / RECORD)
    assert len(list(DataLoader(guard_again, batch_size=1, collate_fn=list))) == 6
    assert len(read_skipped(tmp_path / RECORD)) == 1


def test_validation_names_the_file_too(scenes, tiny_scenes, train, tmp_path):
    path = sorted((scenes / 'val/images').glob('*.png'))[1]
    cut(path)
    cfg = dict(tiny_run(scenes, 2), model=tiny_model(4), skip_bad_samples=5)
    with pytest.raises(SampleError, match=f'^val_dataloader: sample 1 .*{path.name}'):
        train(str(write_config(tmp_path / 'config.py', cfg)))


# ---------------------------------------------------------------- a teacher that can only teach nan


def spoil(path: Path, name: str, value: float) -> dict:
    content = torch.load(path, weights_only=False)
    content['state_dict'][name].view(-1)[0] = value
    return content


@pytest.mark.parametrize('name', ['backbone.layer1.0.conv1.weight', 'decode_head.bottleneck.bn.running_var'])
@pytest.mark.parametrize('value', [float('inf'), float('nan')])
@pytest.mark.parametrize('key', ['teacher_ckpt', 'init_cfg'])
def test_a_teacher_with_inf_or_nan_is_told(key, value, name, tiny_teacher, segmentation_scope, tmp_path):
    path = tmp_path / 'teacher.pth'
    torch.save(spoil(tiny_teacher.checkpoint, name, value), path)
    cfg = tiny_distillation(tiny_teacher)
    if key == 'teacher_ckpt':
        cfg['teacher_ckpt'] = str(path)
    else:
        del cfg['teacher_ckpt']
        cfg['teacher']['init_cfg'] = dict(type='Pretrained', checkpoint=str(path))
    with pytest.raises(ValueError, match=f'{key}.*weights of the teacher are inf or nan: {name}'):
        MODELS.build(cfg).init_weights()
