"""How a tool ends: by a closed pipe, by a worker that is killed."""
import os
import signal
import subprocess
import sys

import pytest
from toys import ROOT

from kd_methods.core.cli import run_tool
from kd_methods.core.parallel import CHUNK, run_parallel


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize('ends', ['print(1)', "print('line\\n' * 100_000)", 'print(1); sys.exit(0)'],
                         ids=['little', 'much', 'exit'])
def test_a_reader_that_has_read_enough_ends_a_tool_without_a_word(ends):
    """`check.py CONFIG | head`: also where the output is held back until the end."""
    code = f'import sys; from kd_methods.core.cli import run_tool\ndef main():\n    {ends}\nrun_tool(main)'
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, '')


def test_a_killed_worker_ends_a_tool_in_a_sentence(capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: list(run_parallel(die, range(3 * CHUNK), 2, 'Reading')))
    assert ended.value.code == 1
    assert 'Reading: a process was killed, most often for want of memory. Try --workers 1' in capsys.readouterr().err
