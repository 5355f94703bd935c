"""tools/data/check.py as a user runs it: the page, the exit codes, what it writes; and the quick look of
train.py and test.py.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from raw_segmentation import config, data_set, label_map, put, write_split
from toys import ROOT, load_tool

PAGE = r"""Data of \S+config.py

Data sets
                            type                            images  labels  X  read  height x width  wrong
  train_dataloader.dataset  BaseSegDataset                      20      20  -    20  16 x 24             0
  val_dataloader.dataset    BaseSegDataset                       4       4  -     4  16 x 24             0
  test_dataloader.dataset   same as val_dataloader.dataset

Classes: share of the pixels that have one, and images with them
     class   train pixels  images  val pixels  images
  0  ground       33.\d\d %      20     33.\d\d %       4
  1  wall         33.\d\d %      20     33.\d\d %       4
  2  door         33.\d\d %      20     33.\d\d %       4

Nothing wrong was found.
"""


@pytest.fixture(scope='module')
def check():
    """The tool's `main`."""
    return load_tool('data/check').main


@pytest.fixture(autouse=True)
def no_local_rank(monkeypatch):
    """read_config sets LOCAL_RANK: put it back after each test."""
    monkeypatch.setenv('LOCAL_RANK', '0')


@pytest.fixture
def good(tmp_path) -> Path:
    """A config whose data has nothing wrong."""
    for split, count in (('train', 20), ('val', 4)):
        write_split(tmp_path, split, count)
    config(data_set(tmp_path, 'train'), data_set(tmp_path, 'val')).dump(str(tmp_path / 'config.py'))
    return tmp_path / 'config.py'


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize('workers', ['1', '2'])
def test_page_of_good_data(workers, check, good, capsys):
    """The same whatever the number of processes; beside it nothing but the bars, and no file."""
    before = {path: path.stat().st_mtime_ns for path in good.parent.rglob('*')}
    assert check([str(good), '--workers', workers]) == 0
    printed = capsys.readouterr()
    assert re.fullmatch(PAGE, printed.out), printed.out
    assert {line.split(':')[0] for line in re.split(r'[\r\n]+', printed.err) if line} == {
        'train_dataloader.dataset',
        'val_dataloader.dataset',
    }
    assert re.search('train_dataloader.dataset: 100%.* 20/20 ', printed.err)
    assert {path: path.stat().st_mtime_ns for path in good.parent.rglob('*')} == before


def test_exit_code_and_sentences_of_bad_data(check, good, capsys):
    cut(good.parent / 'train/labels/007.png')
    put(good.parent / 'val/labels/002.png', label_map(size=(8, 8)))
    assert check([str(good)]) == 1
    printed = capsys.readouterr().out
    assert re.search(r'\n  train_dataloader.dataset .* 1\n  val_dataloader.dataset .* 1\n', printed)
    assert re.search(
        r'\n2 things are wrong\n  x train_dataloader.dataset: 1 of 20 label files cannot be read:\s.*007.png',
        printed,
    )
    assert max(map(len, printed.splitlines())) <= 118


def test_splits_and_limit(check, good, capsys):
    cut(good.parent / 'train/labels/007.png')
    assert check([str(good), '--splits', 'val', 'test']) == 0
    assert 'train' not in capsys.readouterr().out.split('\n', 1)[1]
    assert check([str(good), '--limit', '3']) == 0  # the first, the middle, the last
    printed = capsys.readouterr().out
    assert re.search('At most 3 samples of each data set were read', printed) and re.search(
        r'20 +20 +- +3 +16 x 24', printed
    )
    assert check([str(good), '--limit', '20']) == 1


def test_overrides_reach_the_data(check, good, capsys):
    assert check([str(good), '--cfg-options', 'model.decode_head.num_classes=4']) == 1
    assert check([str(good), '--cfg-options', 'train_dataloader.dataset.data_root=nowhere']) == 1
    assert "BaseSegDataset finds no 'nowhere'" in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['absent.py'], "check.py: CONFIG: no config file 'absent.py'"),
        (['configs/_base_/datasets/scenes_seg.py'], 'has no `model`'),
    ],
    ids=['absent', 'base'],
)
def test_a_config_that_cannot_be_read(arguments, words, check, capsys):
    assert check(arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err and printed.out == '' and 'Traceback' not in printed.err


def test_a_config_without_data(check, tmp_path, capsys):
    (tmp_path / 'c.py').write_text("model = dict(type='EncoderDecoder')\n")
    assert check([str(tmp_path / 'c.py')]) == 2
    assert (
        'has no data set in train_dataloader and val_dataloader and test_dataloader'
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    'option', [['--limit', '0'], ['--workers', '-1'], ['--splits', 'all']], ids=['limit', 'workers', 'splits']
)
def test_arguments_are_checked(option, check, capsys):
    with pytest.raises(SystemExit) as exit_:
        check(['c.py', *option])
    assert exit_.value.code == 2


def test_interrupting_prints_one_line(good):
    """The processes end what they read, and say nothing."""
    pipe = good.parent / 'train/images/010.png'
    pipe.unlink()
    os.mkfifo(pipe)
    (good.parent / 'train.txt').write_text(''.join(f'{i:03d}\n' for i in range(20)))
    command = [
        sys.executable,
        ROOT / 'tools/data/check.py',
        good,
        '--workers',
        '2',
        '--cfg-options',
        'train_dataloader.dataset.ann_file=train.txt',
    ]
    tool = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with open(pipe, 'wb'):  # once a process has begun to read it
        os.killpg(tool.pid, signal.SIGINT)
        assert tool.poll() is None
    out, err = tool.communicate(timeout=60)
    assert tool.returncode == 130 and out == ''
    assert err.splitlines()[-1] == 'check.py: interrupted. Nothing was written.'
    assert not any('Error' in line or 'Traceback' in line for line in err.splitlines())


def test_training_does_not_begin_on_bad_data(tiny_config, tiny_scenes, tools, tmp_path):
    """The sentence names the file, and nothing was built."""
    write_split(tmp_path, 'train', 4, high=30)
    options = [f'train_dataloader.dataset.data_root={tmp_path}', '--work-dir', str(tmp_path / 'work')]
    with pytest.raises(
        ValueError,
        match=r'train_dataloader.dataset: all 4 label files .*000.png \(11, 12, .*Expected: 0 to 10, '
        r'and 255.*`python tools/data/check.py CONFIG` looks at every file',
    ):
        tools.train([str(tiny_config('bad_labels')), '--cfg-options', *options])
    (tmp_path / 'train/labels/001.png').unlink()
    with pytest.raises(FileNotFoundError, match='1 of 4 images without a label file: .*001.png'):
        tools.train([str(tiny_config('no_label')), '--cfg-options', *options])
    assert not (tmp_path / 'work').exists()


def test_testing_does_not_begin_on_bad_data(tiny_teacher, tools, tmp_path):
    write_split(tmp_path, 'val', 4)
    (tmp_path / 'val/labels/001.png').unlink()
    with pytest.raises(
        FileNotFoundError, match='test_dataloader.dataset: 1 of 4 images without a label file: .*001.png'
    ):
        tools.test(
            [
                str(tiny_teacher.config),
                str(tiny_teacher.checkpoint),
                '--cfg-options',
                f'test_dataloader.dataset.data_root={tmp_path}',
            ]
        )


@pytest.mark.parametrize('name', ['scenes', 'coco', 'cityscapes', 'voc', 'camvid', 'nyuv2', 'ade20k'])
def test_every_form_of_the_scenes_is_good_data(name, check, tmp_path, capsys):
    """In the true form of each data set, read by its own loader."""
    from kd_methods.scenes.forms import build_form
    from kd_methods.scenes.writer import write_scenes

    write_scenes(tmp_path / 'data', train=3, val=2, size=32, format=name, workers=1)
    form = build_form(name)
    root, base = str(tmp_path / 'data' / form.root), form.bases()[0]
    (tmp_path / 'c.py').write_text(
        f"_base_ = ['{ROOT}/configs/_base_/datasets/{base}.py']\nmodel = dict(type='EncoderDecoder')\n"
        f"default_scope = '{'mmdet' if name == 'coco' else 'mmseg'}'\n"
    )
    places = (
        ['train_dataloader.dataset.datasets.0', 'train_dataloader.dataset.datasets.1']
        if name == 'voc'
        else ['train_dataloader.dataset']
    )
    options = [
        f'{place}.data_root={root}'
        for place in [*places, 'val_dataloader.dataset', 'test_dataloader.dataset']
    ]
    if name == 'coco':
        options += [
            f'{split}_evaluator.ann_file={root}/annotations/instances_val2017.json'
            for split in ('val', 'test')
        ]
    assert check([str(tmp_path / 'c.py'), '--workers', '1', '--cfg-options', *options]) == 0, (
        capsys.readouterr().out
    )
    printed = capsys.readouterr().out
    assert re.search(r'train_dataloader.dataset.* (\d+) +\1 +- +\1 +32 x 32 +0\n', printed)
