"""The command line: overrides of config keys; how a tool ends by a closed pipe or a killed worker."""

import argparse
import os
import signal
import subprocess
import sys

import pytest
from toys import ROOT

from kd_methods.engine.cli import add_cfg_options, run_tool
from kd_methods.utils.parallel import CHUNK, run_parallel


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    'ends', ["print('line\\n' * 100_000)", 'print(1); sys.exit(0)'], ids=['much', 'little']
)
def test_a_reader_that_has_read_enough_ends_a_tool_without_a_word(ends):
    """`check.py CONFIG | head`: also where the output is held back until the end."""
    code = f'import sys; from kd_methods.engine.cli import run_tool\ndef main():\n    {ends}\nrun_tool(main)'
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
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


def parsed(*options):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


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


def test_later_options_are_added():
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    assert parser.parse_args(['--cfg-options', 'a=1', 'b=1', '--cfg-options', 'b=2']).cfg_options == dict(
        a=1, b=2
    )


@pytest.mark.parametrize(
    'options, text',
    [
        (['a.b'], "got 'a.b', expected KEY=VALUE, without blanks around ="),
        (['a', '=', '1'], "got 'a', expected KEY=VALUE"),
        (['=1'], "got '=1', expected KEY=VALUE"),
        (['a=[(1,2]'], r"the brackets of 'a=[(1,2]' do not match"),
    ],
    ids=['no-value', 'blanks', 'no-key', 'brackets'],
)
def test_what_is_no_option_is_said(options, text, capsys):
    with pytest.raises(SystemExit):
        parsed(*options)
    assert f'--cfg-options: {text}' in capsys.readouterr().err
