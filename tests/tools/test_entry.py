"""What the tools share: start-up without torch, overrides of config keys, how a tool ends."""

import argparse
import inspect
import os
import signal
import subprocess
import sys

import entry
import pytest
from entry import run_tool
from mmengine.config import DictAction
from toys import ROOT, load_tool

from kd_methods.convert.camvid import convert_camvid
from kd_methods.convert.cityscapes import convert_cityscapes
from kd_methods.convert.coco_stuff10k import convert_coco_stuff10k
from kd_methods.convert.coco_subset import write_subset
from kd_methods.convert.nyuv2 import convert_nyuv2
from kd_methods.convert.voc_aug import convert_voc_aug
from kd_methods.data_check.look import SPLITS
from kd_methods.engine.launch import RANK_VARIABLES
from kd_methods.networks.checkpoint import safe_load
from kd_methods.networks.config import load_config
from kd_methods.scenes.forms import FORMS
from kd_methods.scenes.writer import write_scenes
from kd_methods.utils.parallel import CHUNK, run_parallel
from kd_methods.visualize.run import KINDS

TOOLS = sorted(
    str(path.relative_to(ROOT / 'tools'))
    for path in [*ROOT.glob('tools/*.py'), *ROOT.glob('tools/data/*.py')]
    if path.stem not in ('entry', 'benchmark_common')
)
CONFIG = 'configs/i2ckd/i2ckd_pspnet_r18_pspnet_r18-w16_scenes.py'


# ---------------------------------------------------------------- start-up


def run_without_torch(tool, *argv, stdin=None):
    """Exit code and output of a tool in a process where no one can import torch or mmengine."""
    code = (
        'import runpy, sys\n'
        'sys.modules.update(torch=None, mmengine=None)\n'
        'sys.argv[:] = sys.argv[1:]\n'
        'sys.path[0] = sys.argv[0].rpartition("/")[0]\n'
        'runpy.run_path(sys.argv[0], run_name="__main__")\n'
    )
    command = [sys.executable, '-c', code, str(ROOT / 'tools' / tool), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, cwd='/', timeout=60)


@pytest.mark.parametrize('tool', TOOLS)
def test_help_needs_no_torch(tool):
    done = run_without_torch(tool, '--help')
    assert done.returncode == 0, done.stderr
    assert load_doc(tool).splitlines()[0] in done.stdout


def load_doc(tool):
    text = (ROOT / 'tools' / tool).read_text()
    return text.split('"""')[1]


@pytest.mark.parametrize('tool', [tool for tool in TOOLS if tool not in ('dist_run.py', 'setup_helper.py')])
def test_an_unknown_option_needs_no_torch(tool):
    done = run_without_torch(tool, '--no-such-option')
    assert done.returncode == 2 and 'error:' in done.stderr, done.stderr


READERS = {  # exit code of a mistake
    'train.py': ((), 1),
    'test.py': ((ROOT / 'setup.py',), 1),
    'export.py': ((ROOT / 'setup.py', '--out', 'x.pth'), 1),
    'check.py': ((), 2),
    'visualize.py': ((ROOT / 'setup.py',), 1),
    'data/check.py': ((), 2),
    'data/browse.py': ((), 1),
}


@pytest.mark.parametrize('tool', READERS)
def test_a_mistake_in_the_config_needs_no_torch(tool, tmp_path):
    name = tool.rpartition('/')[2]
    argv, code = READERS[tool]
    done = run_without_torch(tool, CONFIG.replace('scenes.py', 'scene.py'), *argv)
    assert (done.returncode, done.stdout) == (code, '')
    assert done.stderr.startswith(f'{name}: CONFIG: no config file') and 'Traceback' not in done.stderr
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    done = run_without_torch(tool, tmp_path / 'broken.py', *argv)
    assert done.returncode == code and 'broken.py is not valid Python' in done.stderr, done.stderr


def test_a_missing_checkpoint_needs_no_torch(tmp_path):
    """Told as the package tells it."""
    (tmp_path / 'best.pth').touch()
    missing = tmp_path / 'bets.pth'
    for key, *argv in (
        ('checkpoint', 'test.py', CONFIG, missing),
        ('--resume', 'train.py', CONFIG, '--resume', missing),
    ):
        done = run_without_torch(*argv)
        with pytest.raises(FileNotFoundError) as error:
            safe_load(missing, key=key)
        assert done.returncode == 1 and str(error.value) in done.stderr and "['best.pth']" in done.stderr, (
            done.stderr
        )
    entry.check_file('https://example.com/a.pth', 'checkpoint')
    entry.check_file(str(tmp_path / 'best.pth'), 'checkpoint')


@pytest.mark.parametrize(
    'text, says',
    [
        ('', 'has no `model`'),
        ("default_scope = 'mmseg'", 'has no `model`'),
        ('a = dict(b=', 'is not valid Python'),
        ('a = "\0"', 'is not valid Python'),
    ],
)
def test_what_the_text_of_a_config_shows(text, says, tmp_path):
    config = tmp_path / 'c.py'
    config.write_text(text)
    with pytest.raises(ValueError, match=f'CONFIG: .*c.py {says}'):
        entry.check_config(str(config))


@pytest.mark.parametrize(
    'text',
    ["_base_ = ['a.py']", 'from a import *', 'model = dict(a={{ fileBasename }})', 'for model in (1,): pass'],
)
def test_what_the_text_of_a_config_does_not_show(text, tmp_path):
    """A `model` may come from elsewhere; mmengine fills in what Python cannot read."""
    (tmp_path / 'c.py').write_text(text)
    entry.check_config(str(tmp_path / 'c.py'))
    (tmp_path / 'c.py').write_text('a = 1')
    entry.check_config(str(tmp_path / 'c.py'), {'model.type': 'A'})
    entry.check_config('mmseg::no/such.py')


def test_a_checkpoint_is_no_config():
    with pytest.raises(ValueError, match='CONFIG: README.md is no config: expected a file that ends in .py'):
        entry.check_config('README.md')


def test_a_missing_config_is_told_as_the_package_tells_it(tmp_path):
    said = []
    for read in (entry.check_config, lambda path: load_config(path, 'CONFIG')):
        with pytest.raises(FileNotFoundError) as error:
            read('configs/baselines/pspnet_r18_scene.py')
        said.append(str(error.value))
    assert said[0] == said[1] and "Did you mean 'pspnet_r18_scenes.py'" in said[0]


def test_every_config_passes():
    for path in ROOT.glob('configs/[!_]*/*.py'):
        entry.check_config(str(path))


# ---------------------------------------------------------------- what the tools say without the package


def test_choices_are_those_of_the_package():
    assert set(entry.LAUNCHERS) == {'none', *RANK_VARIABLES}
    assert list(load_tool('data/make_scenes').FORMS) == list(FORMS)
    assert load_tool('data/check').SPLITS == SPLITS
    assert load_tool('visualize').KINDS == KINDS


@pytest.mark.parametrize(
    'tool, function, argv',
    [
        ('camvid', convert_camvid, ['a', '--out', 'b']),
        ('cityscapes', convert_cityscapes, ['a']),
        ('coco_stuff10k', convert_coco_stuff10k, ['a']),
        ('coco_subset', write_subset, ['a', '--out', 'b']),
        ('make_scenes', write_scenes, ['--out', 'b']),
        ('nyuv2', convert_nyuv2, ['--mat', 'a', '--classes', 'b', '--splits', 'c', '--out', 'd']),
        ('voc_aug', convert_voc_aug, ['a', 'b']),
    ],
)
def test_arguments_are_those_of_the_function(tool, function, argv):
    """By name, and with the same defaults."""
    parameters = inspect.signature(function).parameters
    args = vars(load_tool(f'data/{tool}').parse_args(argv))
    assert set(args) <= set(parameters)
    empty = inspect.Parameter.empty
    assert {name for name, p in parameters.items() if p.default is empty} <= set(args)
    for name, value in args.items():
        assert parameters[name].default in (empty, value), name


# ---------------------------------------------------------------- the end of a tool


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize('ends', ["print('line\\n' * 100_000)", 'print(1); return 0'], ids=['much', 'little'])
def test_a_reader_that_has_read_enough_ends_a_tool_without_a_word(ends):
    """`check.py CONFIG | head`: also where the output is held back until the end."""
    code = f'from entry import run_tool\ndef main():\n    {ends}\nrun_tool(main)'
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT / 'tools', stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, '')


def test_a_killed_worker_ends_a_tool_in_a_sentence(capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: list(run_parallel(die, range(3 * CHUNK), 2, 'Reading')))
    assert ended.value.code == 1
    assert (
        'Reading: a process was killed, most often because memory ran out. Try --workers 1'
        in capsys.readouterr().err
    )


@pytest.mark.parametrize('code', [0, 1, 2])
def test_the_integer_of_main_is_the_exit_code(code):
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: code)
    assert ended.value.code == code
    run_tool(lambda: {'mIoU': 1.0})


# ---------------------------------------------------------------- overrides of config keys


def parsed(*options):
    parser = argparse.ArgumentParser()
    entry.add_config(parser)
    return parser.parse_args(['c.py', '--cfg-options', *options]).cfg_options


@pytest.mark.parametrize(
    'text, value',
    [
        ('1', 1),
        ('1e-3', 1e-3),
        ('True', True),
        ('None', None),
        ('a', 'a'),
        ('', ''),
        ('"a"', 'a'),
        ('a=b', 'a=b'),
        ('[1, 2]', [1, 2]),
        ('1,2', [1, 2]),
        ('"[(a, 1), (b, 2)]"', [('a', 1), ('b', 2)]),
        ('()', ()),
        ('/my data/set (old) [2]/x', '/my data/set (old) [2]/x'),
    ],
)
def test_values_of_config_keys(text, value):
    """As mmengine's, and a path keeps its blanks."""
    assert parsed('a.b=0', f'a.b={text}', 'c=1') == {'a.b': value, 'c': 1}


@pytest.mark.parametrize(
    'text',
    ['1,', '[]', '[1]', '(1,)', '[[1,2],[3]]', '[(a,(b,c)),"d e",false]', "'a','b'", '[,1]', 'a(1,2)']
    + ['-1', '1.', 'true', 'nan', '(a)', '[None,none,1e3]', '((1,2),)', '1,[2,(3,4)],x'],
)
def test_values_are_read_as_mmengine_reads_them(text):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    try:
        expected = parser.parse_args(['--cfg-options', f'a={text}']).cfg_options
    except RecursionError:  # brackets inside a value that is no list: here it is text
        expected = dict(a=text)
    assert repr(parsed(f'a={text}')) == repr(expected)


def test_later_options_are_added():
    parser = argparse.ArgumentParser()
    entry.add_config(parser)
    argv = ['c.py', '--cfg-options', 'a=1', 'b=1', '--cfg-options', 'b=2']
    assert parser.parse_args(argv).cfg_options == dict(a=1, b=2)


# ------------------------------------------------------------ the home folder


def test_home_is_meant_by_a_tilde_in_every_path_of_a_config(monkeypatch):
    """Checkpoints, data roots, folders and lists of data, outputs: in the file, or on the command line."""
    monkeypatch.setenv('HOME', '/home/me')
    parser = entry.tool_parser('')
    entry.add_config(parser)
    entry.add_run_arguments(parser)
    data = 'train_dataloader.dataset'
    options = [
        f'{data}.data_root=~/scenes',
        f'{data}.data_prefix.img_path=~/images',
        f'{data}.ann_file=~/a.txt',
    ]
    options += [
        'val_evaluator.ann_file=~/a.json',
        'load_from=~/a.pth',
        'lists=[~/a,b]',
        'model.teacher_ckpt=~',
    ]
    options += ['default_hooks.checkpoint.out_dir=~/out', f'{data}.metainfo.classes=[~,b]', 'other=a~/b']
    args = parser.parse_args([str(ROOT / CONFIG), '--work-dir=~/run', '--cfg-options', *options])
    cfg = entry.read_config(args)
    dataset = cfg.train_dataloader.dataset
    assert (dataset.data_root, dataset.data_prefix.img_path) == ('/home/me/scenes', '/home/me/images')
    assert (dataset.ann_file, cfg.val_evaluator.ann_file) == ('/home/me/a.txt', '/home/me/a.json')
    assert (cfg.load_from, cfg.work_dir, cfg.lists) == ('/home/me/a.pth', '/home/me/run', ['/home/me/a', 'b'])
    assert (cfg.model.teacher_ckpt, cfg.default_hooks.checkpoint.out_dir) == ('/home/me', '/home/me/out')
    assert dataset.metainfo.classes == ['~', 'b'] and cfg.other == 'a~/b'


def test_home_is_meant_in_tuples_and_what_stays_is_the_same_object(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    values = dict(pair=('~/a', 1), same=(1, ['b']), deep=[dict(path='~/c')], number=3)
    same = values['same']
    assert entry.expand_home(values) is values and values['same'] is same
    assert values['pair'] == ('/home/me/a', 1) and values['deep'] == [dict(path='/home/me/c')]


@pytest.mark.parametrize(
    'options, text',
    [
        (['a.b'], "got 'a.b', expected KEY=VALUE, without blanks around ="),
        (['a', '=', '1'], "got 'a', expected KEY=VALUE"),
        (['=1'], "got '=1', expected KEY=VALUE"),
        (['a=[(1,2]'], r"the brackets of 'a=[(1,2]' do not match"),
        (['a=[1,2)'], r"the brackets of 'a=[1,2)' do not match"),
    ],
    ids=['no-value', 'blanks', 'no-key', 'brackets', 'kinds of brackets'],
)
def test_what_is_no_option_is_said(options, text, capsys):
    with pytest.raises(SystemExit):
        parsed(*options)
    assert f'--cfg-options: {text}' in capsys.readouterr().err
