"""What the command-line tools share: arguments, reading a config, short errors."""

from __future__ import annotations

import argparse
import os
import os.path as osp
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from kd_methods.engine.launch import LAUNCHERS, close_distributed
from kd_methods.networks.config import load_config
from kd_methods.utils.errors import USER_ERRORS, error_sentence, is_own_error

# Warnings that every run of the stack gives, whatever its config says: nothing to act on.
_NOISE = (
    r'Default ``avg_non_ignore`` is False',
    r'The draw is False, it means that the hook for visualization',
    r'`broadcast_buffers` is deprecated',
)


class CfgOptions(DictAction):
    """mmengine's ``KEY=VALUE`` options, but for two things: a value that is no list keeps its blanks (paths
    have some), and what is no option is refused in a sentence."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add the options to those that are there."""
        options = dict(getattr(namespace, self.dest) or {})
        for option in values:
            key, equals, text = option.partition('=')
            if not key or not equals:
                parser.error(f'{option_string}: got {option!r}, expected KEY=VALUE, without blanks around =')
            text = text.strip('\'"')
            try:
                is_list = ',' in text or text[:1] in ('(', '[')
                options[key] = self._parse_iterable(text) if is_list else self._parse_int_float_bool(text)
            except AssertionError:
                parser.error(f'{option_string}: the brackets of {option!r} do not match')
        setattr(namespace, self.dest, options)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add the argument that overrides keys of the config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help='override config keys: a.b=1 list=[1,2] nested="[(a,b),(c,d)]" "path=/with a blank" '
        '(no blanks around =)',
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every tool which runs a config takes."""
    parser.add_argument(
        '--work-dir',
        help='where logs and results go; work_dirs/<config name> where neither this nor the config says',
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='what started this process (default: none, a single process)',
    )
    # torch.distributed.launch passes one spelling up to torch 1.x and the other from 2.0 on.
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help='rank within the node; given by the launcher',
    )


def read_config(args: argparse.Namespace) -> Config:
    """Read a run's config and put the command line's overrides into it.

    Args:
        args (Namespace): With `config` and what `add_run_arguments` adds.

    Returns:
        Config: With `launcher` and `work_dir` set.
    """
    for message in _NOISE:
        warnings.filterwarnings('ignore', message=message)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = load_config(args.config, 'CONFIG')
    except SyntaxError as error:
        raise ValueError(f'CONFIG: {args.config} is not valid Python: {error}') from error
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if not isinstance(cfg.get('model'), dict):
        raise ValueError(
            f'CONFIG: {args.config} has no `model`; is it a base file (configs/_base_/...) rather than a '
            'whole config?'
        )
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', Path(args.config).stem)
    return cfg


def run_tool(main: Callable[[], None], on_interrupt: str = '') -> None:
    """Run a tool's `main` and end the process with an exit code and a readable last line.

    A mistake that this project itself reports (config, data, checkpoint) ends in its sentence
    alone; KD_DEBUG=1 in the environment shows the traceback. Anything else keeps its traceback. A
    reader of the output that has read enough (``| head``) ends the tool without a word, as it ends
    any other: exit code 141. SIGTERM and SIGUSR1 end it as Ctrl-C does: exit codes 143, 138 and 130.

    Args:
        main (Callable): The tool.
        on_interrupt (str): What to say after such a signal. Defaults to ''.
    """
    process = os.getpid()

    def interrupt(number: int, frame: Any) -> None:
        if os.getpid() == process:
            error = KeyboardInterrupt(f'{signal.Signals(number).name} ended it')
            error.number = number
            raise error
        signal.signal(number, signal.SIG_DFL)  # a fork
        os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, interrupt)
    rank = os.environ.get('RANK') or os.environ.get('SLURM_PROCID')
    name = Path(sys.argv[0]).name + (f' (rank {rank})' if rank else '')
    try:
        try:
            main()
        finally:
            sys.stdout.flush()  # what is held back would fail after all handlers
        close_distributed()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt as error:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # torchrun passes on what the terminal sent
        if rank in (None, '0'):
            print(f'\n{name}: {str(error) or "interrupted"}. {on_interrupt}', file=sys.stderr)
        close_distributed()
        sys.exit(128 + getattr(error, 'number', signal.SIGINT))
    except USER_ERRORS as error:
        if os.environ.get('KD_DEBUG', '0') not in ('', '0') or not is_own_error(error):
            raise
        print(f'{name}: {error_sentence(error)}', file=sys.stderr)
        sys.exit(1)


def print_report(name: str, make: Callable[[], Any]) -> int:
    """Print a report, or the sentence of an error that it raises, and return the exit code.

    Args:
        name (str): Of the tool.
        make (Callable): Gives something to print; if that has an ``exit_code``, it is the one.

    Returns:
        int: 0 or 1 as the report says; 2 if there is none.
    """
    try:
        report = make()
    except USER_ERRORS as error:
        if os.environ.get('KD_DEBUG', '0') not in ('', '0'):
            raise
        print(f'{name}: {error_sentence(error)}', file=sys.stderr)
        return 2
    print(report)
    return getattr(report, 'exit_code', 0)
